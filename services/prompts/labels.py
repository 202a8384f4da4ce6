"""The labels that stand for candidates in a prompt, and the orders in which candidates are shown.

A label follows a space, in the list (`… | SR`) as in the answer (`Next: SR`), or begins an answer
(`SR`). Each is one token, either way, in the byte-level vocabularies of GPT-2, cl100k (Qwen and
Llama 3 build on it) and o200k; all but the last four also are in Llama 2's. Left out are codes that
are everyday words (`NO`, `UK`, `TV`) and the Roman numerals that end the titles of sequels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Scattered, so that neither the alphabet nor a neighbor says anything about a label's place.
_TABLE = """
    SR CV LL MO HT CR SE DI GC CH NR SW DC IB GR AP
    FI IC DR SH LI IO DM GB CL LO IM MB CT EL IE UI
    GT MP IL CI AA BC SN WM NK XP SU AC NA MR GL FO
    OS IR SM DB UN NS EC WH RA MS EF CE SL MM BR CG
    DJ NE TR BO SC MD AF IU SY RC CP AR ED PO IP NC
    AL SF OP VM TH RE MA AV PR HO SA EP CF ML BB DA
    CS SI UE PA MC ST RO PK TE EM AG LP VS FM SK CC
    GP FB SD EN CO FR SP PL JS FA AB FC NT JR FN KN
"""
LABELS: tuple[str, ...] = tuple(_TABLE.split())
MOST_CANDIDATES = len(LABELS)


def labels_for(candidates: int, labels: Sequence[str] = LABELS) -> tuple[str, ...]:
    """The labels of so many candidates, in the order shown: a label belongs to a place."""
    if candidates > len(labels):
        raise ValueError(f"{candidates} candidates, but only {len(labels)} labels")
    return tuple(labels[:candidates])


def permutation(candidates: int, *, seed: int, number: int = 0) -> tuple[int, ...]:
    """An order to show candidates in: at place j stands candidate `permutation(...)[j]`.

    The same seed and number give the same order on every machine and Python version.
    """
    draws = random.Random(f"{seed}/{number}")
    keys = [draws.random() for _ in range(candidates)]
    return tuple(sorted(range(candidates), key=keys.__getitem__))


def in_candidate_order(order: Sequence[int], values: Sequence[T]) -> list[T]:
    """Undoes a permutation: from values by place to values by candidate."""
    by_candidate = dict(zip(order, values, strict=True))
    return [by_candidate[candidate] for candidate in range(len(order))]
