"""What has been computed of the beginnings of prompts, kept for the next prompt that begins alike.

Prompts are computed in blocks of 64 tokens, cut at the same places whether a block was at hand or
not. So an answer is the same to the bit, whatever the cache holds.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from services.llm.onnx.network import Floats, Past

BLOCK_TOKENS = 64


class PrefixCache:
    """Blocks by the hash of all tokens up to their end; those unused for longest go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._blocks: OrderedDict[bytes, Floats] = OrderedDict()
        self.bytes = 0

    def find(self, tokens: Sequence[int]) -> Past | None:
        """Of the longest known beginning. At least one token is left to compute."""
        known: list[bytes] = []
        for key in _keys(tokens[: len(tokens) - 1]):
            if key not in self._blocks:
                break
            known.append(key)
        if not known:
            return None
        for key in reversed(known):  # later blocks are of no use without earlier ones
            self._blocks.move_to_end(key)
        return Past(list(np.concatenate([self._blocks[key] for key in known], axis=2)))

    def keep(self, tokens: Sequence[int], past: Past) -> None:
        """All whole blocks of a prompt that has been computed."""
        keys = _keys(tokens[: past.tokens])
        for place, key in reversed(list(enumerate(keys))):
            if key not in self._blocks:
                start = place * BLOCK_TOKENS
                end = start + BLOCK_TOKENS
                block = np.stack([array[:, start:end] for array in past.arrays])
                self._blocks[key] = block
                self.bytes += block.nbytes
            self._blocks.move_to_end(key)
        while self.bytes > self._most_bytes:
            _, dropped = self._blocks.popitem(last=False)
            self.bytes -= dropped.nbytes


def _keys(tokens: Sequence[int]) -> list[bytes]:
    keys, chain = [], b""
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        block = np.asarray(tokens[end - BLOCK_TOKENS : end], np.int64).tobytes()
        chain = hashlib.blake2b(chain + block, digest_size=16).digest()
        keys.append(chain)
    return keys
