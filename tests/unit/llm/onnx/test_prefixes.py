"""Beginnings of prompts, kept within a bound."""

from __future__ import annotations

import numpy as np

from services.llm.onnx.network import Past
from services.llm.onnx.prefixes import BLOCK_TOKENS, PrefixCache

BLOCK_BYTES = 4 * BLOCK_TOKENS * 4 * 2  # arrays, tokens, bytes, head width


def past_of(tokens: list[int]) -> Past:
    """Each token's keys and values depend on all tokens so far."""
    sums = np.cumsum(tokens).astype(np.float32)
    return Past([np.stack([sums, sums + number], axis=-1)[None] for number in range(4)])


def prompt(*blocks: int, rest: int = 5) -> list[int]:
    return [token for token in blocks for _ in range(BLOCK_TOKENS)] + [1] * rest


def cache_with(*prompts: list[int], blocks: int = 100) -> PrefixCache:
    cache = PrefixCache(blocks * BLOCK_BYTES)
    for tokens in prompts:
        cache.keep(tokens, past_of(tokens))
    return cache


def tokens_found(cache: PrefixCache, tokens: list[int]) -> int:
    found = cache.find(tokens)
    if found is None:
        return 0
    for kept, computed in zip(found.arrays, past_of(tokens).arrays, strict=True):
        np.testing.assert_array_equal(kept, computed[:, : found.tokens])
    return found.tokens


def test_the_longest_common_beginning_is_found_in_whole_blocks() -> None:
    cache = cache_with(prompt(1, 2, 3))
    assert tokens_found(cache, prompt(1, 2, 3)) == 3 * BLOCK_TOKENS
    assert tokens_found(cache, prompt(1, 2, 4, 3)) == 2 * BLOCK_TOKENS
    assert tokens_found(cache, prompt(2, 3)) == 0


def test_a_block_counts_only_behind_the_same_beginning() -> None:
    cache = cache_with(prompt(1, 2), prompt(3, 2, 4))
    assert tokens_found(cache, prompt(1, 2, 4)) == 2 * BLOCK_TOKENS


def test_at_least_one_token_is_left_to_compute() -> None:
    cache = cache_with(prompt(1, 2, rest=0))
    assert tokens_found(cache, prompt(1, 2, rest=0)) == BLOCK_TOKENS
    assert tokens_found(cache, prompt(1, 2, rest=1)) == 2 * BLOCK_TOKENS


def test_what_was_unused_for_longest_goes_first_and_ends_before_beginnings() -> None:
    cache = cache_with(prompt(1, 2, 3), prompt(7, 8), blocks=5)
    assert tokens_found(cache, prompt(7, 8)) == 2 * BLOCK_TOKENS
    assert tokens_found(cache, prompt(1, 2, 3)) == 3 * BLOCK_TOKENS
    cache.keep(prompt(9), past_of(prompt(9)))
    assert cache.bytes == 5 * BLOCK_BYTES
    assert tokens_found(cache, prompt(7, 8)) == BLOCK_TOKENS
    assert tokens_found(cache, prompt(1, 2, 3)) == 3 * BLOCK_TOKENS


def test_a_cache_without_room_keeps_nothing() -> None:
    cache = cache_with(prompt(1, 2), blocks=0)
    assert cache.bytes == 0
    assert tokens_found(cache, prompt(1, 2)) == 0
