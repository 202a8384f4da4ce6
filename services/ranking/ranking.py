"""What is ranked, by which method, and what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from services.prompts import (
    MOST_CANDIDATES,
    Demonstrated,
    Mode,
    Prompt,
    PromptFormat,
    PromptRequest,
    permutation,
)
from services.ranking.written import Written


@dataclass(frozen=True, slots=True)
class Candidate:
    item_id: str
    title: str | None


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """`history` oldest first; candidates as retrieval or the caller gave them."""

    history: tuple[str | None, ...]
    candidates: tuple[Candidate, ...]
    demonstrated: Demonstrated | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.candidates) <= MOST_CANDIDATES:
            raise ValueError(
                f"1 to {MOST_CANDIDATES} candidates can be ranked, not {len(self.candidates)}"
            )

    def bare(self) -> RankingRequest:
        return replace(self, demonstrated=None)

    def prompt_request(self, order: tuple[int, ...] | None = None) -> PromptRequest:
        titles = tuple(candidate.title for candidate in self.candidates)
        return PromptRequest(self.history, titles, order, self.demonstrated)


@dataclass(frozen=True, slots=True)
class Method:
    """How to rank. The mode belongs to the prompt's form.

    `permutations` show the candidates in so many orders, the first as they come, and average what
    the model says. `calibrated` subtracts what it prefers where the prompt has no content
    (`first_token` alone). `listed` is how many labels are written in `generate`.

    A demonstration moves what the model says, away from what it says without one. `step_size`
    (eta, the learning rate of the dual model) is how much of that way is gone. At 1 only the
    prompt with the demonstration is asked; below, the one without it as well.
    """

    form: PromptFormat = field(default=PromptFormat())
    permutations: int = 1
    calibrated: bool = False
    listed: int = 10
    seed: int = 0
    step_size: float = 1.0

    def __post_init__(self) -> None:
        if self.calibrated and self.mode is not Mode.FIRST_TOKEN:
            raise ValueError("only first_token can be calibrated: no other mode has a label prior")
        if self.permutations < 1:
            raise ValueError("at least one order of the candidates must be shown")
        if not 0 < self.step_size <= 1:
            raise ValueError("a step size is above 0, and 1 at most: 0 would be zero-shot")

    @property
    def mode(self) -> Mode:
        return self.form.mode

    def prompts(self, *, demonstrated: bool) -> int:
        """How many a ranking takes, at most."""
        return self.permutations * (2 if demonstrated and self.step_size < 1 else 1)

    def in_mode(self, mode: Mode) -> Method:
        calibrated = self.calibrated and mode is Mode.FIRST_TOKEN
        return replace(self, form=replace(self.form, mode=mode), calibrated=calibrated)

    def orders(self, candidates: int) -> list[tuple[int, ...]]:
        """Titles are scored without being shown: their order is none of the prompt."""
        shown = 1 if self.mode is Mode.LIKELIHOOD else self.permutations
        more = [permutation(candidates, seed=self.seed, number=n) for n in range(1, shown)]
        return [tuple(range(candidates)), *more]


@dataclass(frozen=True)
class Ranking:
    """`scores` are by candidate of the request, the higher the better: in `first_token` and
    `likelihood` log-probabilities among the candidates, in `generate` minus the place in the list.

    `raw` is what the model said, by prompt and then by candidate, before normalization and
    calibration; `prior` the label prior that was subtracted, by place. Prompts with the
    demonstration come first.
    """

    method: Method
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    prompts: tuple[Prompt, ...]
    raw: tuple[tuple[float, ...], ...]
    prior: tuple[float, ...] | None = None
    written: Written | None = None

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Places in the request's candidates, best first."""
        return in_order(self.item_ids, self.scores)

    def rank_of(self, item_id: str) -> int:
        return 1 + self.order.index(self.item_ids.index(item_id))


def in_order(item_ids: Sequence[str], scores: Sequence[float]) -> tuple[int, ...]:
    """Best first. Ties fall as a hash of the item's id says: the same everywhere, and owed neither
    to the order of the candidates nor to anything that an id may mean."""

    def key(place: int) -> tuple[float, bytes, int]:
        tie = hashlib.blake2b(item_ids[place].encode(), digest_size=8).digest()
        return (-scores[place], tie, place)

    return tuple(sorted(range(len(item_ids)), key=key))
