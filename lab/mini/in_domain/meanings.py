"""What titles that are tokens mean before anything is read: what they are chosen with, and what
their words say.

A token begins as noise, and a title that few took would stay it. Here each begins as the vector
that explains what is chosen near it (a decomposition of positive pointwise mutual information),
and a sum of vectors of its words and pairs of words, the rarer ones longer. So titles that go
together, or are of one series, a maker or a console, lie beside each other from the start; and
attention, which in a new model points back to what it sees, already finds what is like it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from torch import Tensor

# Of a title's first vector: what it is chosen with, what its words say; and noise of its own, by
# which titles that are alike in both can be told apart.
CHOSEN_WITH, SAID, OWN = 0.7, 0.25, 0.05
# Titles so many places apart are near each other, the less the farther.
WINDOW = 5
# What is near a rare title is drawn to the frequent ones by this; and a pair that was seen so often
# counts half of what it says.
SMOOTHED, SEEN = 0.75, 1.0
_WORD = re.compile(r"\w+")

Floats = NDArray[np.float64]


def give_meaning(
    embeddings: Tensor, named: Mapping[str, int], lives: Iterable[Sequence[str]]
) -> None:
    """`named`: which row of the embeddings is which title's; `lives`: titles, oldest first. Rows
    keep their length."""
    rows = list(named.values())
    width = embeddings.shape[1]
    with torch.no_grad():
        own = embeddings[rows]
        length = own.norm(dim=1, keepdim=True)
        mixed = (
            CHOSEN_WITH * _unit(torch.from_numpy(_chosen_with(list(named), lives, width)).float())
            + SAID * _unit(_said(list(named), width))
            + OWN * _unit(own)
        )
        embeddings[rows] = _unit(mixed) * length


def _chosen_with(titles: Sequence[str], lives: Iterable[Sequence[str]], width: int) -> Floats:
    vectors = np.zeros((len(titles), width))
    told = _mutual_information(titles, lives)
    size = min(width, len(titles) - 1)
    if size < 1 or not told.nnz:
        return vectors
    left, strengths, _ = svds(told, k=size, random_state=0)
    vectors[:, :size] = left * np.sqrt(strengths)
    # Not the rounding of what nothing is known of.
    vectors[np.asarray(told.sum(axis=1)).ravel() == 0] = 0
    return vectors


def _mutual_information(titles: Sequence[str], lives: Iterable[Sequence[str]]) -> csr_array:
    numbers = {title: number for number, title in enumerate(titles)}
    known = [
        np.array([numbers[title] for title in life if title in numbers], np.int64) for life in lives
    ]
    ones, others, weights = [], [], []
    for apart in range(1, WINDOW + 1):
        ones += [life[:-apart] for life in known]
        others += [life[apart:] for life in known]
        weights.append(np.full(sum(len(life[apart:]) for life in known), apart**-0.5))
    one, other = np.concatenate(ones), np.concatenate(others)
    weight = np.concatenate(weights)[one != other]
    one, other = one[one != other], other[one != other]
    size = (len(titles), len(titles))
    near = csr_array((weight, (one, other)), size)
    near = (near + near.T).tocoo()
    often = np.asarray(near.sum(axis=1)).ravel()
    expected = often**SMOOTHED / max(1.0, float((often**SMOOTHED).sum()))
    found, count = near.coords, near.data
    told = np.log(count / often[found[0]] / expected[found[1]])
    return csr_array((told.clip(0) * count / (count + SEEN), found), size)


def _said(titles: Sequence[str], width: int) -> Tensor:
    parts = [sorted(set(_parts(title))) for title in titles]
    takers = Counter(chain.from_iterable(parts))
    rarity = torch.tensor([len(titles) / count for count in takers.values()]).log()
    vectors = dict(zip(takers, torch.randn(len(takers), width) * rarity[:, None], strict=True))
    nothing = torch.zeros(width)
    return torch.stack([sum((vectors[part] for part in own), nothing) for own in parts])


def _parts(title: str) -> list[str]:
    words = _WORD.findall(title.lower())
    return words + [" ".join(pair) for pair in pairwise(words)]


def _unit(vectors: Tensor) -> Tensor:
    """Of length 1; what says nothing stays so."""
    length = vectors.norm(dim=1, keepdim=True)
    return vectors / length.where(length > 0, torch.ones_like(length))
