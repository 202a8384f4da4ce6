"""Examples as tensors: rows of similar length together, and one list for all places of a kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lab.mini.corpus import Example

# Of so many examples drawn, those of similar length share a batch.
POOL = 96
_ROUNDED_TO = 8


@dataclass(frozen=True)
class Batch:
    """`*_places` count through the flattened rows."""

    ids: Tensor
    next_places: Tensor
    next_tokens: Tensor
    next_weights: Tensor
    grade_places: Tensor
    grades: Tensor
    grade_weights: Tensor
    odds_places: Tensor
    odds_rows: Tensor  # which of the places, for each share
    odds_tokens: Tensor
    odds_shares: Tensor
    odds_weights: Tensor
    odds_among_labels: Tensor
    answers: Tensor  # for each place: the label of the chosen item, or -1

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def batches(
    examples: Iterator[Example], tokens: int, rng: np.random.Generator, pad: int
) -> Iterator[Batch]:
    """Of about so many tokens each; draws its examples a pool at a time."""
    while True:
        pool = sorted((next(examples) for _ in range(POOL)), key=lambda one: len(one.ids))
        count = max(1, round(sum(len(one.ids) for one in pool) / tokens))
        ends = np.cumsum([len(one.ids) for one in pool])
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count).tolist()
        groups = [pool[begin:end] for begin, end in pairwise((0, *cuts, POOL)) if begin < end]
        for place in rng.permutation(len(groups)):
            yield collate(groups[place], pad)


def steps(
    examples: Iterator[Example], size: int, most: int, rng: np.random.Generator, pad: int
) -> Iterator[Sequence[Batch]]:
    """Of `size` examples each, of whatever lengths: in batches of about as many padded tokens as
    `most`, which are one step together."""
    while True:
        pool = sorted((next(examples) for _ in range(size)), key=lambda one: len(one.ids))
        groups: list[list[Example]] = [[]]
        for example in reversed(pool):
            group = groups[-1]
            if group and (len(group) + 1) * len(group[0].ids) > most:
                groups.append(group := [])
            group.append(example)
        yield [
            collate(groups[place], pad, share=1 / size) for place in rng.permutation(len(groups))
        ]


def collate(examples: Sequence[Example], pad: int, share: float | None = None) -> Batch:
    """`share`: what an example weighs; without it, all together weigh 1."""
    share = 1 / len(examples) if share is None else share
    longest = max(len(example.ids) for example in examples)
    length = -(-longest // _ROUNDED_TO) * _ROUNDED_TO
    ids = np.full((len(examples), length), pad, dtype=np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
    starts = [row * length for row in range(len(examples))]
    paired = list(zip(starts, examples, strict=True))
    next_places = _long(s + place for s, e in paired for place in e.next_places)
    flat = torch.from_numpy(ids).flatten()
    odds = [(s, e, one) for s, e in paired for one in e.odds]
    sizes = torch.tensor([len(one.tokens) for _, _, one in odds], dtype=torch.int64)
    return Batch(
        ids=flat.view(len(examples), length),
        next_places=next_places,
        next_tokens=flat[next_places + 1],
        next_weights=share * _float(w for e in examples for w in e.next_weights),
        grade_places=_long(s + place for s, e in paired for place in e.grade_places),
        grades=_long(grade for e in examples for grade in e.grades),
        grade_weights=share * _float(w for e in examples for w in e.grade_weights),
        odds_places=_long(s + one.place for s, _, one in odds),
        odds_rows=torch.repeat_interleave(torch.arange(len(odds)), sizes),
        odds_tokens=_joined([one.tokens for _, _, one in odds], torch.int64),
        odds_shares=_joined([one.shares for _, _, one in odds], torch.float32),
        odds_weights=share * _float(one.weight for _, _, one in odds),
        odds_among_labels=torch.tensor([one.among_labels for _, _, one in odds], dtype=torch.bool),
        answers=_long(
            e.answer if one.among_labels and e.answer is not None else -1 for _, e, one in odds
        ),
    )


def _long(values: Iterator[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def _float(values: Iterator[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float32)


def _joined(arrays: list[np.typing.NDArray[np.generic]], dtype: torch.dtype) -> Tensor:
    if not arrays:
        return torch.zeros(0, dtype=dtype)
    return torch.from_numpy(np.concatenate(arrays)).to(dtype)
