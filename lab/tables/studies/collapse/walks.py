"""Paths that walk over a landscape by the product's rules: acceptance, collapse, perturbation.

What stands in for the model that writes is a proposal, for what a model writes seldom lies in a
space so small: a neighbor of the path's best text, drawn at random. A path that has collapsed is
lent a text of another path, as `rules.perturbation` chooses it, and proposes a combination of the
two: its own best with some elements of the lent one. A text is shown alone, is judged on all draws,
and nothing is expected of it beforehand: acceptance is by what was found.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.tables.studies.collapse.landscape import Landscape, Place
from services.optimizer.plan import Plan
from services.optimizer.rules import (
    BestBy,
    Collapse,
    PathState,
    Standing,
    Step,
    chance,
    most_effective,
    order_of_memory,
    perturbation,
)


@dataclass(frozen=True)
class Walk:
    """Each round every path writes one text, so `paths` times `rounds` are written."""

    paths: int
    rounds: int
    perturbed: bool
    collapse: Collapse
    seed: int = 0
    memory: int = Plan().memory


@dataclass
class Counted:
    written: int = 0
    accepted: int = 0

    def count(self, *, accepted: bool) -> None:
        self.written += 1
        self.accepted += accepted


@dataclass(frozen=True)
class Walked:
    """`served`: the best over the paths after each round, the first included; `ends` by path. Texts
    after the first are counted: perturbed ones, among them those of paths at a local optimum that
    is not the global one (no neighbor would be accepted there), and the others."""

    served: tuple[Place, ...]
    ends: tuple[Place, ...]
    perturbed: Counted
    perturbed_when_stuck: Counted
    others: Counted


@dataclass
class _Path:
    number: int
    best: Place
    last: Place
    state: PathState = field(default_factory=PathState)
    effective: set[Place] = field(default_factory=set)


def walk(land: Landscape, how: Walk, starts: Sequence[Place] | None = None) -> Walked:
    """The first round's texts are drawn at random; with and without perturbation they are the
    same."""
    begun = starts or [_start(land, how.seed, path) for path in range(how.paths)]
    paths = [_Path(number, place, place) for number, place in enumerate(begun)]
    for path in paths:
        _remember(land, path)
    served = [_served(land, paths)]
    perturbed, when_stuck, others = Counted(), Counted(), Counted()
    for number in range(2, how.rounds + 1):
        # All paths write before any of them is judged, as in a round.
        written = [_proposal(land, how, paths, path, number) for path in paths]
        for path, (place, was_perturbed) in zip(paths, written, strict=True):
            stuck = land.is_stuck(path.best)
            took = _judge(land, how, path, place)
            (perturbed if was_perturbed else others).count(accepted=took)
            if was_perturbed and stuck:
                when_stuck.count(accepted=took)
        served.append(_served(land, paths))
    return Walked(
        tuple(served),
        tuple(path.best for path in paths),
        perturbed,
        when_stuck,
        others,
    )


def random_search(land: Landscape, texts: int, seed: int) -> list[Place]:
    """The best after each of so many different texts, drawn at random: what needs no path."""
    rng = chance(seed, land.user, 0, 0, "search")
    drawn = rng.sample(land.places, min(texts, len(land.places)))
    found = [drawn[0]]
    for place in drawn[1:]:
        better = land.improvement(place, found[-1]) > 0
        found.append(place if better else found[-1])
    # Whoever has seen all of the space is done.
    return found + [found[-1]] * (texts - len(found))


def combined(own: Place, lent: Place, rng: random.Random) -> Place:
    """At least one element of the lent one, where they differ."""
    differing = [
        place for place, (mine, other) in enumerate(zip(own, lent, strict=True)) if mine != other
    ]
    taken = set(rng.sample(differing, rng.randint(1, len(differing))))
    return tuple(lent[place] if place in taken else choice for place, choice in enumerate(own))


def _start(land: Landscape, seed: int, path: int) -> Place:
    return chance(seed, land.user, path, 1, "start").choice(land.places)


def _proposal(
    land: Landscape, how: Walk, paths: Sequence[_Path], path: _Path, number: int
) -> tuple[Place, bool]:
    """And whether it was perturbed. A lent text that is the path's own changes nothing."""
    if how.perturbed and path.state.collapsed:
        lent = _lent(land, how, paths, path, number)
        if lent is not None and lent != path.best:
            rng = chance(how.seed, land.user, path.number, number, "combine")
            return combined(path.best, lent, rng), True
    rng = chance(how.seed, land.user, path.number, number, "write")
    return rng.choice(land.neighbors(path.best)), False


def _lent(
    land: Landscape, how: Walk, paths: Sequence[_Path], path: _Path, number: int
) -> Place | None:
    effective = _memory(land, how.memory, paths)
    latest = {one.number: _name(one.last) for one in paths}
    rng = chance(how.seed, land.user, path.number, number, "perturbation")
    name = perturbation(path.number, effective, latest, rng)
    return None if name is None else tuple(map(int, name.split("-")))


def _memory(land: Landscape, most: int, paths: Sequence[_Path]) -> dict[int, list[str]]:
    """Of the user, the best of what was effective, by the path that wrote it."""

    def order(of_path: tuple[int, Place]) -> tuple[float, float, str]:
        found = land.qualities[of_path[1]]
        return order_of_memory(found.effect_d, found.log_score, f"{of_path}")

    known = sorted(((one.number, place) for one in paths for place in one.effective), key=order)
    kept: dict[int, list[str]] = {}
    for number, place in known[:most]:
        kept.setdefault(number, []).append(_name(place))
    return kept


def _judge(land: Landscape, how: Walk, path: _Path, place: Place) -> bool:
    took = land.takes(place, path.best)
    improvement = land.improvement(place, path.best) if took else 0.0
    path.state = path.state.after(Step(land.alike(path.last, place), improvement), how.collapse)
    path.last = place
    if took:
        path.best = place
    _remember(land, path)
    return took


def _remember(land: Landscape, path: _Path) -> None:
    if path.last in land.effective:
        path.effective.add(path.last)


def _served(land: Landscape, paths: Sequence[_Path]) -> Place:
    standings = [
        Standing(_name(path.best), path.number, land.qualities[path.best], tokens=0)
        for path in paths
    ]
    best = most_effective(standings, BestBy.LOG_SCORE)
    assert best is not None, "there is at least one path"
    return paths[best.path].best


def _name(place: Place) -> str:
    return "-".join(map(str, place))
