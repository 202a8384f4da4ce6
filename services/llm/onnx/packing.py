"""Many continuations of one prompt, packed into one run.

The tokens of all titles stand side by side behind the prompt. Each sees the prompt and the tokens
of its own title before it; titles that begin alike share those tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.llm.onnx.network import NOT_SEEN, Floats, Integers

ROOT = -1
# Titles do not see one another, so one long run computes more for nothing than two shorter ones.
PACK_TOKENS = 192


@dataclass
class Pack:
    """A tree of tokens. `paths` has, for each title, the nodes it is read from: the token after
    node `paths[title][i]` is the title's token i; the first is read from the prompt itself."""

    titles: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    _known: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, title: int, tokens: Sequence[int]) -> None:
        at, path = ROOT, [ROOT] if tokens else []
        for token in tokens[:-1]:
            if (at, token) not in self._known:
                self._known[at, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(at)
            at = self._known[at, token]
            path.append(at)
        self.titles.append(title)
        self.paths.append(path)

    def depths(self) -> Integers:
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent == ROOT else depths[parent] + 1)
        return np.asarray(depths, np.int64)

    def mask(self) -> Floats:
        mask = np.full((len(self.tokens), len(self.tokens)), NOT_SEEN, np.float32)
        for node, parent in enumerate(self.parents):
            if parent != ROOT:
                mask[node] = mask[parent]
            mask[node, node] = 0
        return mask


def packed(titles: Sequence[Sequence[int]], most: int = PACK_TOKENS) -> Iterator[Pack]:
    """A title that is longer than a pack has one of its own."""
    pack = Pack()
    # Side by side in order, those that begin alike come together.
    for title in sorted(range(len(titles)), key=lambda number: tuple(titles[number])):
        if pack.titles and len(pack.tokens) + len(titles[title]) - 1 > most:
            yield pack
            pack = Pack()
        pack.add(title, titles[title])
    if pack.titles:
        yield pack
