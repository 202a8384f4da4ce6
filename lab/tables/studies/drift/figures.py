"""What the rows of `drift` say: each arm by event, what the change cost it, and how long."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lab.metrics import ndcg
from lab.statistics import paired_bootstrap
from lab.tables.studies.drift.changing import Condition
from lab.tables.studies.drift.study import ARMS, BOTH

CUTOFF = 10
WINDOW = 3  # events whose mean must be back
COMPARED = (("lrgd", "static"), ("lrgd", "zero_shot"), ("static", "zero_shot"))

Row = Mapping[str, Any]
ByUser = dict[str, list[float]]  # in the order of events


def figures_of(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, Any]]:
    figures: dict[str, float] = {"users": float(len({row["user"] for row in rows}))}
    lines, compared, periods = [], [], []
    after = max((row["step"] for row in rows), default=0)
    # Nobody can know of the change at its first event.
    spans = {"before": (-math.inf, -1), "early": (1, after // 2), "late": (after // 2 + 1, after)}
    for condition in Condition:
        mine = [row for row in rows if row["condition"] in (condition, BOTH)]
        for arm in ARMS:
            lines += [{"condition": condition, "arm": arm, **one} for one in _by_step(mine, arm)]
            back = recovered(_by_step(mine, arm))
            if condition is Condition.CHANGED and back is not None:
                figures[f"recovery.{arm}"] = float(back)
        for span, (begin, end) in spans.items():
            some = [row for row in mine if begin <= row["step"] <= end]
            if not some:
                continue
            for arm in ARMS:
                worth = float(np.mean([_worth(row, arm) for row in some]))
                periods.append({"condition": condition, "span": span, "arm": arm, "ndcg@10": worth})
                figures[f"{condition}.{span}.{arm}"] = worth
            compared += [
                {"condition": condition, "span": span, **_compared(some, one, other)}
                for one, other in COMPARED
            ]
    cost = [
        {"span": span, "arm": arm, **_cost(rows, arm, *spans[span])}
        for span in ("early", "late")
        for arm in ARMS
    ]
    for one in cost:
        figures[f"cost.{one['span']}.{one['arm']}"] = one["difference"]
    for one in compared:
        if one["condition"] is Condition.CHANGED and one["span"] != "before":
            figures[f"p.{one['span']}.{one['arm']}_over_{one['other']}"] = one["p"]
    detail = {"by_event": lines, "periods": periods, "compared": compared, "cost": cost}
    return figures, {**detail, "kept": _kept(rows)}


def recovered(by_step: Sequence[Mapping[str, float]]) -> int | None:
    """The first event after the change at which the mean of the newest few is no more than a
    standard error below that of all before the change. None: not within the stream."""
    before = [one["mean"] for one in by_step if one["step"] < 0]
    if len(before) < 2:
        return None
    level = float(np.mean(before)) - float(np.std(before, ddof=1)) / math.sqrt(len(before))
    since = [one for one in by_step if one["step"] >= 0]
    for place in range(WINDOW - 1, len(since)):
        newest = since[place - WINDOW + 1 : place + 1]
        if float(np.mean([one["mean"] for one in newest])) >= level:
            return int(since[place]["step"])
    return None


def _by_step(rows: Sequence[Row], arm: str) -> list[dict[str, float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["step"], []).append(_worth(row, arm))
    return [
        {"step": step, "mean": float(np.mean(values)), "error": _error(values)}
        for step, values in sorted(found.items())
    ]


def _worth(row: Row, arm: str) -> float:
    """The mean over draws."""
    return float(np.mean([ndcg(rank, CUTOFF) for rank in row["ranks"][arm]]))


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _of_users(rows: Sequence[Row], arm: str) -> dict[str, float]:
    found: ByUser = {}
    for row in rows:
        found.setdefault(row["user"], []).append(_worth(row, arm))
    return {user: float(np.mean(values)) for user, values in sorted(found.items())}


def _compared(rows: Sequence[Row], arm: str, other: str) -> dict[str, Any]:
    mine, theirs = (list(_of_users(rows, name).values()) for name in (arm, other))
    found = paired_bootstrap(mine, theirs)
    return {
        "arm": arm, "other": other, "difference": found.difference,
        "interval": [found.low, found.high], "p": found.p,
    }  # fmt: skip


def _cost(rows: Sequence[Row], arm: str, begin: float, end: float) -> dict[str, Any]:
    """Of the change: the same users with it and without."""
    of = {
        condition: _of_users(
            [row for row in rows if row["condition"] == condition and begin <= row["step"] <= end],
            arm,
        )
        for condition in Condition
    }
    both = sorted(of[Condition.CHANGED].keys() & of[Condition.UNCHANGED].keys())
    found = paired_bootstrap(*([of[condition][user] for user in both] for condition in Condition))
    return {"difference": found.difference, "interval": [found.low, found.high], "p": found.p}


def _kept(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Shares of users who are served a demonstration, and the one of before the stream."""
    found = []
    for condition in Condition:
        for step in sorted({row["step"] for row in rows if row["condition"] == condition}):
            mine = [r for r in rows if r["condition"] == condition and r["step"] == step]
            served = float(np.mean([row["served"] for row in mine]))
            same = float(np.mean([row["served"] and row["kept"] for row in mine]))
            found.append({"condition": condition, "step": step, "served": served, "same": same})
    return found


def markdown(figures: Mapping[str, float], detail: Mapping[str, Any]) -> str:
    lines = [
        f"{figures['users']:,.0f} users of the generated shop, nDCG@10 of the next event among 50 "
        "candidates. From event 0 on they choose by another user's taste (changed), or go on "
        "(unchanged); event 0 itself is in no mean.",
        "",
        f"| taste | events | {' | '.join(ARMS)} |",
        f"|---|---|{'---|' * len(ARMS)}",
    ]
    means = {(p["condition"], p["span"], p["arm"]): p["ndcg@10"] for p in detail["periods"]}
    for condition, span in dict.fromkeys((p["condition"], p["span"]) for p in detail["periods"]):
        row = " | ".join(f"{means[condition, span, arm]:.3f}" for arm in ARMS)
        lines.append(f"| {condition} | {span} | {row} |")
    lines += ["", "| taste | events | arms | difference | 95 % | p |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one['condition']} | {one['span']} | {one['arm']} over {one['other']} {_tested(one)}"
        for one in detail["compared"]
    ]
    lines += ["", "What the change costs (changed less unchanged, the same users):", ""]
    lines += ["| events | arm | difference | 95 % | p |", "|---|---|---|---|---|"]
    lines += [f"| {one['span']} | {one['arm']} {_tested(one)}" for one in detail["cost"]]
    for arm in ARMS:
        back = figures.get(f"recovery.{arm}")
        said = "does not within the stream" if back is None else f"does at event {back:.0f}"
        lines += ["", f"{arm}: the mean of {WINDOW} events comes back to that of before: {said}."]
    return "\n".join(lines) + "\n"


def _tested(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"| {one['difference']:+.3f} | {low:+.3f} to {high:+.3f} | {one['p']:.4f} |"
