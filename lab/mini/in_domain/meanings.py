"""What titles that are tokens mean before anything is read: what their words say.

A token begins as noise, and a title that few took would stay it. Here each begins as the sum of
vectors of its words and pairs of words, the rarer ones longer: titles of a series, a maker or a
console lie beside each other from the start, as they do where titles are spelled in pieces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import chain, pairwise

import torch
from torch import Tensor

# Of a title's first vector, how much its words say; the rest is noise of its own, by which titles
# of the same words can be told apart.
SAID = 0.8
_WORD = re.compile(r"\w+")


def give_meaning(embeddings: Tensor, named: Mapping[str, int]) -> None:
    """`named`: which row of the embeddings is which title's. Rows keep their length."""
    parts = {title: frozenset(_parts(title)) for title in named}
    titles = Counter(chain.from_iterable(sorted(own) for own in parts.values()))
    width = embeddings.shape[1]
    rarity = torch.tensor([len(named) / count for count in titles.values()]).log()
    vectors = dict(zip(titles, torch.randn(len(titles), width) * rarity[:, None], strict=True))
    with torch.no_grad():
        for title, row in named.items():
            own = embeddings[row]
            # In the order of the alphabet, for sums of floats depend on theirs.
            said = sum((vectors[part] for part in sorted(parts[title])), torch.zeros(width))
            if said.norm() > 0:  # not of no words, or of those alone that all titles have
                mixed = SAID * said / said.norm() + (1 - SAID) * own / own.norm()
                embeddings[row] = mixed * own.norm() / mixed.norm()


def _parts(title: str) -> list[str]:
    words = _WORD.findall(title.lower())
    return words + [" ".join(pair) for pair in pairwise(words)]
