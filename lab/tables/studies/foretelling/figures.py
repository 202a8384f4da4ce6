"""What the rows of `effect_correlation` say: within users, between them, and by how many held-out
events judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lab.statistics import Estimate, estimate
from lab.tables.studies.correlations import Pairs, WithinUsers, across_users, within_users
from lab.tables.studies.foretelling.study import texts_of
from lab.tables.studies.texts import SetName

MEASURES = {"effect_d": 0, "log_score": 1}
OWN = (SetName.GENERATED, SetName.LEARNED, SetName.PERTURBED)
GROUPS: Mapping[str, tuple[SetName, ...]] = {
    **{name.value: (name,) for name in SetName},
    "own": OWN,
    "all": tuple(SetName),
}

Row = Mapping[str, Any]


def figures_of(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, Any]]:
    most = min((len(row["zero_shot"]["held_out"]) for row in rows), default=0)
    figures: dict[str, float] = {"users": float(len(rows)), "held_out": float(most)}
    within, between, picked = [], [], []
    for group, names in GROUPS.items():
        for measure in MEASURES:
            for events in range(1, most + 1):
                found = within_users(_within(rows, names, measure, events))
                if found is None:
                    continue
                within.append(_line(group, measure, events, found))
                if events == most:
                    figures |= _named(f"within.{group}.{measure}", found)
            gains = across_users(_between(rows, names, measure, most))
            if gains is not None:
                between.append(_spread(group, measure, gains))
                figures[f"between.{group}.{measure}"] = gains.mean
    for events in range(1, most + 1):
        selected = _picked(rows, events)
        if selected is not None:
            picked.append({"events": events, **_as_dict(selected)})
            figures[f"picked.gain.w{events}"] = selected.mean
    figures |= _evidence(rows, most)
    return figures, {"within": within, "between": between, "picked": picked}


def _within(
    rows: Sequence[Row], names: Sequence[SetName], measure: str, events: int
) -> dict[str, Pairs]:
    return {
        row["user"]: [
            (_held_out(text, measure, events), text["test"][MEASURES[measure]])
            for text in texts_of(row, *names)
        ]
        for row in rows
    }


def _between(
    rows: Sequence[Row], names: Sequence[SetName], measure: str, events: int
) -> dict[str, Pairs]:
    """Of each user, the mean gain over zero-shot: on the held-out events, and on the test."""
    found: dict[str, Pairs] = {}
    for row in rows:
        texts = list(texts_of(row, *names))
        if texts:
            bare, place = row["zero_shot"], MEASURES[measure]
            gained = np.mean([_held_out(text, measure, events) for text in texts])
            tested = np.mean([text["test"][place] for text in texts])
            found[row["user"]] = [
                (float(gained) - _held_out(bare, measure, events),
                 float(tested) - bare["test"][place])
            ]  # fmt: skip
    return found


def _held_out(text: Mapping[str, Any], measure: str, events: int) -> float:
    """The mean over the newest of them."""
    return float(np.mean([one[MEASURES[measure]] for one in text["held_out"][:events]]))


def _picked(rows: Sequence[Row], events: int) -> Estimate | None:
    """What the best of a user's own texts by so many held-out events has on the test over the mean
    of them: Effect_D. Selection reads the held-out events alone."""
    gains = []
    for row in rows:
        texts = list(texts_of(row, *OWN))
        if len(texts) > 1:
            best = max(texts, key=lambda text: _held_out(text, "log_score", events))
            gains.append(best["test"][0] - float(np.mean([text["test"][0] for text in texts])))
    return estimate(gains) if gains else None


def _evidence(rows: Sequence[Row], most: int) -> dict[str, float]:
    """How alike two single events order a user's texts, and how many held-out events would share
    half of their variance with what another event is drawn from (Spearman-Brown)."""
    single = []
    for event in range(most):
        pairs = {
            row["user"]: [
                (text["held_out"][event][1], text["test"][1]) for text in texts_of(row, *OWN)
            ]
            for row in rows
        }
        found = within_users(pairs)
        if found is not None:
            single.append(found.found.mean)
    if not single:
        return {}
    alike = float(np.mean(single))
    figures = {"one_event": alike}
    if alike > 0:
        figures["events_for_half"] = (1 - alike) / alike
    return figures


def _named(name: str, found: WithinUsers) -> dict[str, float]:
    return {
        name: found.found.mean,
        f"{name}.low": found.found.low,
        f"{name}.high": found.found.high,
        f"{name}.null": found.null.mean,
        f"{name}.p": found.p,
    }


def _line(group: str, measure: str, events: int, found: WithinUsers) -> dict[str, Any]:
    return {
        **_spread(group, measure, found.found),
        "events": events,
        "null": [found.null.low, found.null.high],
        "null_error": found.null_error,
        "p": found.p,
        "users": found.users,
    }


def _spread(group: str, measure: str, found: Estimate) -> dict[str, Any]:
    return {"set": group, "measure": measure, **_as_dict(found)}


def _as_dict(found: Estimate) -> dict[str, Any]:
    return {"mean": found.mean, "interval": [found.low, found.high]}


def markdown(source: str, figures: Mapping[str, float], detail: Mapping[str, Any]) -> str:
    lines = [
        f"### {source}: {figures['users']:,.0f} users",
        "",
        "Rank correlation of what a text is worth on the newest w held-out events with what it is "
        "worth on the test, within each user; mean over users. Null: the same, shuffled within "
        "users, 95 %.",
        "",
        "| texts | measure | w | correlation | 95 % | null | p | users |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {one['set']} | {one['measure']} | {one['events']} | {one['mean']:+.3f} "
            f"| {_range(one['interval'])} | {_range(one['null'])} | {one['p']:.3f} "
            f"| {one['users']:,} |"
            for one in detail["within"]
        ),
        "",
        "Between users: of the mean gain over zero-shot on all held-out events with that on the "
        "test.",
        "",
        "| texts | measure | correlation | 95 % |",
        "|---|---|---|---|",
        *(
            f"| {one['set']} | {one['measure']} | {one['mean']:+.3f} | {_range(one['interval'])} |"
            for one in detail["between"]
        ),
        "",
        "What the best of a user's own texts by held-out log-score has on the test over their "
        "mean, in Effect_D:",
        "",
        "| held-out events | gain | 95 % |",
        "|---|---|---|",
        *(
            f"| {one['events']} | {one['mean']:+.3f} | {_range(one['interval'])} |"
            for one in detail["picked"]
        ),
    ]
    if "one_event" in figures:
        needed = figures.get("events_for_half")
        enough = "" if needed is None else (
            f"; then {needed:.0f} held-out events would share half of their variance with what "
            "events to come are drawn from"
        )  # fmt: skip
        lines += ["", f"One event orders texts as another does by {figures['one_event']:+.3f}"
                  f" (log-score){enough}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _range(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{low:+.3f} to {high:+.3f}"
