"""What a round comes to: which variants are accepted, remembered and served, and which paths have
collapsed. Pure: from what was judged to what is to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.optimizer.learning_repository import KnownVariant
from services.optimizer.plan import Plan
from services.optimizer.rules import (
    NOTHING,
    Expected,
    Gain,
    Judged,
    Judgment,
    PathState,
    Quality,
    Standing,
    Step,
    accepts,
    believed,
    gain,
    is_effective,
    most_effective,
    order_of_memory,
    quality,
)


@dataclass(frozen=True)
class Found:
    """A user's variants in a round, and what was judged of them. `effective` are those in memory
    before it; `paths` with the text that each wrote last; `expected` counts as `prior_events`
    held-out events. `turned_down`, by path: what was judged on all of these and never accepted, to
    be heard again; it must gain more than `z` standard errors, as any text that is new."""

    zero_shot: KnownVariant
    incumbents: Mapping[int, KnownVariant]
    new: Mapping[int, KnownVariant]
    effective: Sequence[KnownVariant]
    judged: Mapping[str, Sequence[Judged]]
    newest_event: str
    paths: Mapping[int, PathState] = field(default_factory=dict)
    last_texts: Mapping[int, str] = field(default_factory=dict)
    expected: Expected = field(default_factory=Expected)
    prior_events: float = 0.0
    z: float = 0.0
    turned_down: Mapping[int, Sequence[KnownVariant]] = field(default_factory=dict)

    def quality(self, variant: KnownVariant) -> Quality:
        return quality(self.judged[variant.variant_id])

    def repetitions(self) -> dict[int, tuple[str, str]]:
        """By path that has written now and before: the text it wrote last, and the new one."""
        return {
            path: (self.last_texts[path], one.current.text)
            for path, one in self.new.items()
            if path in self.last_texts and one.current is not None
        }

    def best(self, path: int) -> KnownVariant:
        """Of a path so far: its incumbent, unless newer events have put that one behind
        zero-shot; then, of what was turned down before as much was expected of it as today, what
        is believed to gain most."""
        incumbent = self.incumbents.get(path)
        if incumbent is not None and accepts(self.gained(incumbent), z=0):
            return incumbent
        heard = self.turned_down.get(path, ())
        return max(
            (one for one in heard if accepts(self.gained(one), self.z)),
            key=lambda one: (self.gained(one).log_score, one.variant_id),
            default=self.zero_shot,
        )

    def standings(self, incumbents: Mapping[int, KnownVariant]) -> list[Standing]:
        """Of those that are not believed to be behind zero-shot."""
        gains = {path: self.gained(one) for path, one in incumbents.items()}
        return [
            Standing(
                one.variant_id,
                path,
                Quality(gains[path].effect_d, gains[path].log_score),
                one.row.tokens,
            )
            for path, one in incumbents.items()
            if accepts(gains[path], z=0)
        ]

    def gained(self, variant: KnownVariant) -> Gain:
        """What a variant is believed to gain over zero-shot."""
        return self._believed(variant, self.zero_shot)

    def found_gain(self, path: int) -> Gain:
        """Of a path's new variant over the best so far, on as many draws as it was judged on."""
        return self._found(self.new[path], self.best(path))

    def believed_gain(self, path: int) -> Gain:
        return self._believed(self.new[path], self.best(path))

    def on_first_draw(self) -> Found:
        """The same, had nothing been judged on the others."""
        first = {
            variant_id: [one for one in judged if one.draw == 0]
            for variant_id, judged in self.judged.items()
        }
        return replace(self, judged=first)

    def _found(self, mine: KnownVariant, other: KnownVariant) -> Gain:
        return gain(self.judged[mine.variant_id], self.judged[other.variant_id])

    def _believed(self, mine: KnownVariant, other: KnownVariant) -> Gain:
        expected = self._expected_of(mine) - self._expected_of(other)
        return believed(self._found(mine, other), expected, self.prior_events)

    def _expected_of(self, variant: KnownVariant) -> Quality:
        return NOTHING if variant.kind is None else self.expected.of(variant.kind)

    def is_whole(self, variant: KnownVariant) -> bool:
        """Judged on every draw, not dropped after the first."""
        return len(self.judged[variant.variant_id]) == len(self.judged[self.zero_shot.variant_id])


@dataclass(frozen=True)
class Decision:
    """`active_id` None: zero-shot. `outcome` is what is told of the round."""

    judgments: Sequence[Judgment]
    paths: Mapping[int, PathState]
    active_id: str | None
    outcome: Mapping[str, Any]


def decide(
    plan: Plan, found: Found, notes: Mapping[str, Any], similar: Mapping[int, float]
) -> Decision:
    """`notes` is what the round wrote down as it went: refused texts, and who was perturbed;
    `similar`, by path, how alike its text is to the one it wrote last, where there are both."""
    incumbents = dict(found.incumbents)
    for path in range(plan.paths):
        if (best := found.best(path)) is not found.zero_shot:
            incumbents[path] = best
    effective = {one.variant_id: one for one in found.effective}
    accepted = {one.variant_id for one in incumbents.values()}
    states, told = {}, []
    for path in range(plan.paths):
        step, line = _step(plan, path, found, similar.get(path))
        new = found.new.get(path)
        if new is not None and line["accepted"]:
            accepted.add(new.variant_id)
            incumbents[path] = new
        if new is not None and line["effective"]:
            effective[new.variant_id] = new
        before = found.paths.get(path, PathState())
        states[path] = before.after(step, plan.collapse)
        told.append(line | _noted(notes, path) | {"collapsed": states[path].collapsed})
    remembered = _remembered(found, effective.values(), plan.memory)
    standing = most_effective(found.standings(incumbents), plan.best_by)
    active = None if standing is None else incumbents[standing.path]
    kept = {one.variant_id for one in incumbents.values()}
    judgments = [
        Judgment(
            one.variant_id,
            accepted=one.variant_id in accepted or bool(one.row.accepted),
            incumbent=one.variant_id in kept,
            effective=one.variant_id in remembered,
            quality=_known_quality(found, one),
        )
        for one in _unique(
            [
                *found.incumbents.values(),
                *incumbents.values(),
                *found.new.values(),
                *effective.values(),
            ]
        )
    ]
    outcome = {
        "zero_shot": _told(found.quality(found.zero_shot)),
        "active": None
        if active is None
        else {"path": active.row.path, **_told(found.quality(active))},
        "paths": told,
        "memory": len(remembered),
    }
    active_id = None if active is None else active.variant_id
    return Decision(judgments, states, active_id, outcome)


def _step(
    plan: Plan, path: int, found: Found, similar: float | None
) -> tuple[Step, dict[str, Any]]:
    new = found.new.get(path)
    if new is None:
        return Step(None, 0.0), {
            "path": path, "written": False, "similarity": None, "accepted": False,
            "effective": False,
        }  # fmt: skip
    gained, whole = found.found_gain(path), found.is_whole(new)
    took = whole and accepts(found.believed_gain(path), plan.z)
    mine, bare = (found.judged[one.variant_id] for one in (new, found.zero_shot))
    return Step(similar, gained.log_score if took else 0.0), {
        "path": path,
        "written": True,
        "kind": new.kind,
        "similarity": similar,
        "accepted": took,
        "effective": whole and is_effective(mine, bare, found.newest_event, plan.effective_rank),
        "screened_out": not whole,
        "gain": gained.log_score,
        "gain_effect_d": gained.effect_d,
        "noise": gained.noise,
        **_told(found.quality(new)),
    }


def _noted(notes: Mapping[str, Any], path: int) -> dict[str, Any]:
    """JSON has texts for keys. `perturbed`: None where the path had not collapsed, False where it
    had and no other path had anything to lend."""
    return {
        "refusals": notes.get("refusals", {}).get(str(path), []),
        "perturbed": notes.get("perturbed", {}).get(str(path)),
    }


def _remembered(found: Found, effective: Iterable[KnownVariant], most: int) -> set[str]:
    def worth(one: KnownVariant) -> tuple[float, float, str]:
        known = _known_quality(found, one)
        return order_of_memory(known.effect_d, known.log_score, one.variant_id)

    return {one.variant_id for one in sorted(effective, key=worth)[:most]}


def _known_quality(found: Found, variant: KnownVariant) -> Quality:
    """Of this round where it was judged, else as it was last found."""
    judged = found.judged.get(variant.variant_id)
    if judged:
        return quality(judged)
    return Quality(variant.row.effect_d or 0.0, variant.row.log_score or 0.0)


def _unique(variants: Sequence[KnownVariant]) -> list[KnownVariant]:
    return list({one.variant_id: one for one in variants}.values())


def _told(found: Quality) -> dict[str, float]:
    return {"effect_d": round(found.effect_d, 6), "log_score": round(found.log_score, 6)}
