"""One user's landscape walked over many times: with 1 to 4 paths, with perturbation and without,
and by what needs no paths."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.tables.studies.collapse.landscape import Landscape, Place
from lab.tables.studies.collapse.walks import Counted, Walk, Walked, random_search, walk
from services.optimizer.rules import Collapse

MOST_PATHS = 4
PDO1, RANDOM = "pdo1", "random"


@dataclass(frozen=True)
class Share:
    """Of texts, per walk."""

    written: float
    accepted: float


NONE = Share(0.0, 0.0)


def perturbed_arm(paths: int, window: int) -> str:
    """`window` is s: a path has collapsed when so many rounds in a row have not improved it."""
    return f"pdo{paths}_window{window}"


def unperturbed_arm(paths: int) -> str:
    return f"pdo{paths}_unperturbed"


def as_many(arm: str, paths: int) -> str:
    """`arm` with as many texts as so many paths write."""
    return f"{arm}_as_many_as_pdo{paths}"


@dataclass(frozen=True)
class Trial:
    """Of one user, means over walks: `at_optimum`, the regrets and `stuck` (the share of paths at a
    local optimum that is not the global one) after the last round; `curve` is the regret in
    log-score after each, with `paths` texts each; the counts are per walk."""

    paths: int
    at_optimum: float
    regret: float
    regret_effect_d: float
    stuck: float | None
    curve: tuple[float, ...]
    perturbed: Share = NONE
    perturbed_when_stuck: Share = NONE
    others: Share = NONE


def trials(
    land: Landscape, rounds: int, walks: int, collapses: Sequence[Collapse]
) -> dict[str, Trial]:
    """By arm."""
    found = {}
    for paths in range(2, MOST_PATHS + 1):
        wanted = {
            perturbed_arm(paths, one.window): Walk(paths, rounds, True, one) for one in collapses
        } | {unperturbed_arm(paths): Walk(paths, rounds, False, collapses[0])}
        for arm, how in wanted.items():
            walked = [walk(land, replace(how, seed=seed)) for seed in range(walks)]
            found[arm] = _trial(land, paths, [one.served for one in walked], walked)
    most = MOST_PATHS * rounds
    # One path has nobody to be perturbed by; what it does longer begins with what it does at first.
    alone = [walk(land, Walk(1, most, False, collapses[0], seed)) for seed in range(walks)]
    searched = [random_search(land, most, seed) for seed in range(walks)]
    for paths in range(1, MOST_PATHS + 1):
        texts = paths * rounds
        cut = [one.served[:texts] for one in alone]
        stuck = statistics.fmean(land.is_stuck(served[-1]) for served in cut)
        name = PDO1 if paths == 1 else as_many(PDO1, paths)
        found[name] = _trial(land, 1, cut, stuck=stuck)
        found[as_many(RANDOM, paths)] = _trial(land, 1, [served[:texts] for served in searched])
    return found


def _trial(
    land: Landscape,
    paths: int,
    served: Sequence[Sequence[Place]],
    walked: Sequence[Walked] = (),
    stuck: float | None = None,
) -> Trial:
    ends = [one[-1] for one in served]
    if walked:
        stuck = statistics.fmean(land.is_stuck(end) for one in walked for end in one.ends)
    return Trial(
        paths,
        at_optimum=statistics.fmean(end == land.best for end in ends),
        regret=statistics.fmean(map(land.regret, ends)),
        regret_effect_d=statistics.fmean(map(land.regret_effect_d, ends)),
        stuck=stuck,
        curve=tuple(
            statistics.fmean(map(land.regret, of_round)) for of_round in zip(*served, strict=True)
        ),
        perturbed=_share([one.perturbed for one in walked]),
        perturbed_when_stuck=_share([one.perturbed_when_stuck for one in walked]),
        others=_share([one.others for one in walked]),
    )


def _share(counted: Sequence[Counted]) -> Share:
    if not counted:
        return NONE
    return Share(
        sum(one.written for one in counted) / len(counted),
        sum(one.accepted for one in counted) / len(counted),
    )
