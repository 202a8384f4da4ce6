"""The rules of m-PDO: when a demonstration is better, when a path has collapsed, who helps whom.

Pure functions over frozen values. Chance comes in as a generator that is keyed by whom it is for,
so that the same seed and the same answers of the model give the same run, whatever the batching.
"""

from __future__ import annotations

import hashlib
import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.ranking.effect import effect_d

LEAST_POSITIVES = 3  # to hold one out and still have two to write about


@dataclass(frozen=True, slots=True)
class Judged:
    """A variant on one held-out event and one draw of its candidates."""

    event_id: str
    draw: int
    rank: int
    log_score: float

    @property
    def effect_d(self) -> float:
        return effect_d(self.rank)


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over held-out events and draws."""

    effect_d: float
    log_score: float

    def __sub__(self, other: Quality) -> Quality:
        return Quality(self.effect_d - other.effect_d, self.log_score - other.log_score)


def held_out_count(positives: int, most: int = 3) -> int:
    """How many of the newest positives judge: w = min(most, a third of them), at least 1."""
    return max(1, min(most, positives // 3))


def quality(judged: Sequence[Judged] | Sequence[Quality]) -> Quality:
    """The mean."""
    if not judged:
        raise ValueError("nothing was judged")
    return Quality(
        math.fsum(one.effect_d for one in judged) / len(judged),
        math.fsum(one.log_score for one in judged) / len(judged),
    )


# --- acceptance -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gain:
    """Of one variant over another, on the same events and draws. `noise` is the standard error of
    the mean log-score gain; 0 where a single pair tells nothing about it."""

    log_score: float
    effect_d: float
    noise: float
    events: int = 1


def gain(new: Iterable[Judged], old: Iterable[Judged]) -> Gain:
    mine = {(one.event_id, one.draw): one for one in new}
    theirs = {(one.event_id, one.draw): one for one in old}
    shared = sorted(mine.keys() & theirs.keys())
    if not shared:
        raise ValueError("the two were never judged on the same candidates")
    differences = [mine[key].log_score - theirs[key].log_score for key in shared]
    # Summed before they are rounded: the same ranks on other events are a difference of exactly 0.
    effects = [mine[key].effect_d for key in shared] + [-theirs[key].effect_d for key in shared]
    return Gain(
        math.fsum(differences) / len(shared),
        math.fsum(effects) / len(shared),
        _error(differences),
        events=len({event_id for event_id, _ in shared}),
    )


NOTHING = Quality(0.0, 0.0)


class Kind(StrEnum):
    """Of a variant: one text; two; or whatever was written under a perturbation."""

    SINGLE = "single"
    PAIR = "pair"
    PERTURBED = "perturbed"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a variant gains over zero-shot, by its kind, before anything is known of it: what
    earlier ones have gained, of other users."""

    single: Quality = NOTHING
    pair: Quality = NOTHING
    perturbed: Quality = NOTHING

    def of(self, kind: Kind) -> Quality:
        by_kind = {Kind.SINGLE: self.single, Kind.PAIR: self.pair, Kind.PERTURBED: self.perturbed}
        return by_kind[kind]


def believed(found: Gain, expected: Quality, weight: float) -> Gain:
    """The few events of one user say little, and the many of all users much: `expected` counts as
    though it had been found on `weight` events more."""
    known = found.events + weight
    mine, theirs = found.events / known, weight / known
    return replace(
        found,
        log_score=mine * found.log_score + theirs * expected.log_score,
        effect_d=mine * found.effect_d + theirs * expected.effect_d,
        noise=mine * found.noise,
    )


def accepts(found: Gain, z: float) -> bool:
    """Above z times the noise floor, and at no cost in Effect_D."""
    return found.log_score > max(0.0, z * found.noise) and found.effect_d >= 0


def promising(on_first_draw: Gain) -> bool:
    """Whether a variant is worth more draws: one that is behind on the first is dropped. That can
    lose a good one, and never lets a bad one in."""
    return on_first_draw.log_score > 0


def _error(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return 0.0
    return statistics.stdev(differences) / math.sqrt(len(differences))


# --- memory ---------------------------------------------------------------------------------------


def is_effective(
    new: Sequence[Judged], zero_shot: Sequence[Judged], newest_event: str, best_ranks: int = 3
) -> bool:
    """Fit for the user's memory: on the newest held-out event as good as one of the best ranks, on
    the average of the draws, and better than zero-shot there."""
    mine = [one for one in new if one.event_id == newest_event]
    theirs = [one for one in zero_shot if one.event_id == newest_event]
    if not mine or not theirs:
        return False
    reached = quality(mine)
    return (
        reached.effect_d >= effect_d(best_ranks) and reached.log_score > quality(theirs).log_score
    )


def order_of_memory(
    effect_d: float | None, log_score: float | None, variant_id: str
) -> tuple[float, float, str]:
    """Sorts the best first."""
    return (-(effect_d or 0.0), -(log_score or 0.0), variant_id)


# --- paths ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A round of a path: how alike its text was to the one it had written before (None: the first,
    or none was written), and by how much log-score its incumbent got better (0: not accepted)."""

    similarity: float | None
    improvement: float


class CollapseRule(StrEnum):
    ANY = "any"  # as the paper has it
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Collapse:
    """`similarity` is tau, `improvement` epsilon, `window` s."""

    similarity: float
    improvement: float
    window: int
    rule: CollapseRule = CollapseRule.ANY

    def of(self, steps: Sequence[Step]) -> bool:
        """Over the window's rounds the texts have stopped changing, or improving."""
        if len(steps) < self.window:
            return False
        newest = steps[-self.window :]
        same = all(
            one.similarity is not None and one.similarity >= self.similarity for one in newest
        )
        stalled = window_average([one.improvement for one in newest]) <= self.improvement
        return (same or stalled) if self.rule is CollapseRule.ANY else (same and stalled)


def window_average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@dataclass(frozen=True, slots=True)
class PathState:
    """`steps` oldest first, no more than a window."""

    rounds: int = 0
    collapsed: bool = False
    steps: tuple[Step, ...] = ()

    def after(self, step: Step, collapse: Collapse) -> PathState:
        steps = (*self.steps, step)[-collapse.window :]
        return replace(self, rounds=self.rounds + 1, collapsed=collapse.of(steps), steps=steps)


def perturbation(
    path: int,
    effective: Mapping[int, Sequence[str]],
    latest: Mapping[int, str],
    rng: random.Random,
) -> str | None:
    """A random demonstration of another path, by its id: of the effective ones where there are any,
    else of what each wrote last. Both are by path. None: the others have nothing."""
    best = sorted(one for other, ids in effective.items() if other != path for one in ids)
    last = sorted(one for other, one in latest.items() if other != path)
    pool = best or last
    return rng.choice(pool) if pool else None


@dataclass(frozen=True, slots=True)
class Standing:
    """The best of a path, and what it is believed to gain over zero-shot."""

    variant_id: str
    path: int
    gained: Quality
    tokens: int


@dataclass(frozen=True, slots=True)
class Judgment:
    """What a round makes of a variant."""

    variant_id: str
    accepted: bool
    incumbent: bool
    effective: bool
    quality: Quality


class BestBy(StrEnum):
    """The other one breaks ties. Of a few held-out events, log-scores tell variants apart better
    than ranks do."""

    EFFECT_D = "effect_d"
    LOG_SCORE = "log_score"


def most_effective(standings: Iterable[Standing], by: BestBy = BestBy.EFFECT_D) -> Standing | None:
    """Then by fewer tokens, then the first path. None: zero-shot."""

    def worth(one: Standing) -> tuple[float, float, int, int]:
        found = (one.gained.effect_d, one.gained.log_score)
        first, second = found if by is BestBy.EFFECT_D else reversed(found)
        return (first, second, -one.tokens, -one.path)

    return max(standings, key=worth, default=None)


def companion(
    path: int, best: Iterable[Standing], written: Iterable[int], by: BestBy = BestBy.EFFECT_D
) -> int | None:
    """Of which other path a text is shown beside this one's new one: the one with the best
    standing; where none has any, the next one that has `written`. None: there is none."""
    chosen = most_effective((one for one in best if one.path != path), by)
    if chosen is not None:
        return chosen.path
    others = sorted(other for other in written if other != path)
    return next((other for other in others if other > path), others[0] if others else None)


# --- chance and cost ------------------------------------------------------------------------------


def chance(seed: int, user_id: str, path: int, round_number: int, purpose: str) -> random.Random:
    return random.Random(seed_of(seed, user_id, path, round_number, purpose))


def seed_of(seed: int, user_id: str, path: int, round_number: int, purpose: str) -> int:
    key = f"{seed}\n{user_id}\n{path}\n{round_number}\n{purpose}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:6], "big")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of calls of the model: how many, and their tokens, of prompts and completions together."""

    calls: int = 0
    tokens: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.calls + other.calls, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Budget:
    """None: without a limit."""

    calls: int | None = None
    tokens: int | None = None

    def allows(self, spent: Cost, reserved: Cost, wanted: Cost) -> bool:
        """What is in flight counts at its highest."""
        total = spent + reserved + wanted
        return (self.calls is None or total.calls <= self.calls) and (
            self.tokens is None or total.tokens <= self.tokens
        )
