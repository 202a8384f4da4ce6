"""What the rows of a table are worth, and how they stand to each other: figures, and tables.

Rows are compared by one metric, nDCG at some cut-off; intervals and p are of that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lab.evaluation.judging import CUTOFF, Judged, by_history, mean_values, values
from lab.metrics import ndcg, random_ndcg
from lab.statistics import Comparison, estimate, paired_bootstrap
from lab.tables.kept import KeptRow
from lab.tables.rows import RANDOM, ROWS, TABLE2
from services.errors import ConfigurationError
from services.ranking.effect import effect_d

Figures = dict[str, float]

METRICS = ("ndcg@1", "ndcg@10", "recall@10", "effect_d", "gauc")
COMPARED, FIRST_PLACE = "ndcg@10", "ndcg@1"
OURS, BARE = "lrgd_fused", "zero_shot"
PURE, BELOW = "lrgd", (BARE, "generated", "generated_part")
# Those that are shown by the length of the history.
LOOKED_FOR = ("popularity", "covisit", "sasrec", "sasrec_fused", BARE, "generated", PURE, OURS)


def figures_of(
    kept: Sequence[KeptRow], wanted: Sequence[str] = TABLE2, compared: str = COMPARED
) -> tuple[Figures, dict[str, Any]]:
    """`wanted`: the rows of the table, so that those that are missing can be named. `compared`:
    by which metric rows stand to each other, and which metrics are told beside it."""
    if not kept:
        raise ConfigurationError("no row of this table is kept: run it without --kept first")
    figures: Figures = {}
    detail: dict[str, Any] = {"candidates": {}}
    for name in dict.fromkeys(one.candidates for one in kept):
        rows = {one.row: one for one in kept if one.candidates == name}
        more, table = _of_file(name, rows, compared)
        figures |= more
        detail["candidates"][name] = table
    there = {one.row for one in kept}
    detail["missing"] = [row for row in wanted if row not in there]
    return figures, detail


def _of_file(
    name: str, rows: Mapping[str, KeptRow], compared: str
) -> tuple[Figures, dict[str, Any]]:
    figures: Figures = {}
    ordered = [rows[row] for row in ROWS if row in rows]
    told = [_random(ordered[0]), *(_row(one, rows, compared) for one in ordered)]
    wanted = (*told_beside(compared), "users", *(["harm_rate"] if compared == COMPARED else []))
    for row in told:
        figures |= {f"{name}.{row['row']}.{key}": row[key] for key in wanted if key in row}
    reached = _reached(rows, compared)
    figures |= {f"{name}.{key}": value for key, value in _figures_of(reached).items()}
    return figures, {
        "rows": told,
        "reached": reached,
        "by_history": {one.row: _buckets(one) for one in ordered},
        "by_history_together": _together([one for one in ordered if one.row in LOOKED_FOR]),
    }


def told_beside(compared: str) -> tuple[str, ...]:
    """A table of one place alone has no use for what lies behind it, but for Effect_D."""
    return METRICS if compared == COMPARED else (compared, "effect_d")


def _judged(one: KeptRow) -> list[Judged]:
    return [
        Judged(*each) for each in zip(one.ranks, one.aucs, one.sizes, one.histories, strict=True)
    ]


def _row(one: KeptRow, rows: Mapping[str, KeptRow], compared: str) -> dict[str, Any]:
    means = mean_values(values(_judged(one)))
    spread = estimate([ndcg(rank, _cutoff(compared)) for rank in one.ranks])
    row: dict[str, Any] = {
        "row": one.row,
        **means,
        "interval": [spread.low, spread.high],
        "users": len(one.users),
        "lambda": one.weight,
        "engine": one.engine,
        "mode": one.mode,
        "degraded": one.degraded,
        "malformed": one.malformed,
        "seconds": one.seconds,
    }
    best = best_other(one, rows, compared)
    if best is not None:
        row["best_other"] = {"row": best.row, **_over(one, best, compared)}
    bare = rows.get(BARE)
    if bare is not None and one.row != BARE:
        row["over_bare"] = _over(one, bare, compared)
        if ROWS[one.row].asks:
            mine, theirs = _common(one, bare)
            worse = [m > t for m, t in zip(mine, theirs, strict=True)]
            row["harm_rate"] = float(np.mean(worse))
    return row


def best_other(
    one: KeptRow, rows: Mapping[str, KeptRow], compared: str = COMPARED
) -> KeptRow | None:
    """The one that is farthest ahead, or least behind, on the users that both were asked about."""
    others = [other for other in rows.values() if other.row != one.row]
    return max(others, key=lambda other: _ahead(other, one, compared), default=None)


def _ahead(one: KeptRow, other: KeptRow, metric: str) -> float:
    return common_mean(one, other, metric) - common_mean(other, one, metric)


def common_mean(one: KeptRow, other: KeptRow, metric: str) -> float:
    """Of `one`, on the users that both were asked about."""
    return _metric(one, metric, set(one.users) & set(other.users))


def _reached(rows: Mapping[str, KeptRow], compared: str) -> list[dict[str, Any]]:
    """How our rows stand to those that they have to be worth more than, on the users that both were
    asked about. `gain`: what the fused one has, in each metric over the row that is best in it."""
    found: list[dict[str, Any]] = []
    pure, ours = rows.get(PURE), rows.get(OURS)
    if pure is not None:
        found += [
            {"row": PURE, "other": other, **_over(pure, rows[other], compared)}
            for other in BELOW
            if other in rows
        ]
    best = None if ours is None else best_other(ours, rows, compared)
    if ours is not None and best is not None:
        over = _over(ours, best, compared)
        found.append({"row": OURS, "other": best.row, **over, "gain": _gain(ours, rows, compared)})
    return found


def _gain(ours: KeptRow, rows: Mapping[str, KeptRow], compared: str) -> Figures:
    """As a share of the best other row's. A metric in which that has nothing is left out."""
    found = {}
    for metric in (metric for metric in told_beside(compared) if "@" in metric):
        best = best_other(ours, rows, metric)
        if best is not None and (most := common_mean(best, ours, metric)):
            found[metric] = common_mean(ours, best, metric) / most - 1
    return found


def _figures_of(reached: Sequence[Mapping[str, Any]]) -> Figures:
    figures: Figures = {}
    for one in reached:
        if "gain" in one:
            figures |= {f"gain.{metric}": value for metric, value in one["gain"].items()}
            figures["p.gain"] = one["p"]
        else:
            figures[f"p.{one['row']}_vs_{one['other']}"] = one["p"]
    return figures


def _over(one: KeptRow, other: KeptRow, compared: str) -> dict[str, Any]:
    over = _compared(one, other, compared)
    users = len(set(one.users) & set(other.users))
    return {
        "difference": over.difference, "interval": [over.low, over.high], "p": over.p,
        "users": users,
    }  # fmt: skip


def _compared(one: KeptRow, other: KeptRow, compared: str) -> Comparison:
    mine, theirs = _common(one, other)
    cutoff = _cutoff(compared)
    return paired_bootstrap(
        [ndcg(rank, cutoff) for rank in mine], [ndcg(rank, cutoff) for rank in theirs]
    )


def _common(one: KeptRow, other: KeptRow) -> tuple[list[int], list[int]]:
    theirs = other.by_user()
    pairs = [
        (rank, theirs[user])
        for user, rank in zip(one.users, one.ranks, strict=True)
        if user in theirs
    ]
    return [mine for mine, _ in pairs], [their for _, their in pairs]


def _metric(one: KeptRow, metric: str, users: set[str]) -> float:
    cutoff = _cutoff(metric)
    ranks = [rank for user, rank in zip(one.users, one.ranks, strict=True) if user in users]
    if metric.startswith("recall"):
        return float(np.mean([rank <= cutoff for rank in ranks])) if ranks else 0.0
    return float(np.mean([ndcg(rank, cutoff) for rank in ranks])) if ranks else 0.0


def _cutoff(metric: str) -> int:
    return int(metric.split("@")[1])


def _buckets(one: KeptRow, users: Collection[str] | None = None) -> list[dict[str, Any]]:
    chosen = [
        each
        for user, each in zip(one.users, _judged(one), strict=True)
        if users is None or user in users
    ]
    return [
        {"history": name, "users": len(inside), **mean_values(values(inside))}
        for name, inside in by_history(chosen).items()
    ]


def _together(rows: Sequence[KeptRow]) -> dict[str, list[dict[str, Any]]]:
    """On the users that all of them were asked about."""
    users = frozenset[str].intersection(*(frozenset(one.users) for one in rows)) if rows else ()
    return {one.row: _buckets(one, users) for one in rows} if users else {}


def _random(one: KeptRow) -> dict[str, Any]:
    """What a random order is worth on average."""
    return {
        "row": RANDOM,
        "ndcg@1": float(np.mean([1 / size for size in one.sizes])),
        "ndcg@10": float(np.mean([random_ndcg(size, CUTOFF) for size in one.sizes])),
        "recall@10": float(np.mean([min(1.0, CUTOFF / size) for size in one.sizes])),
        "effect_d": float(np.mean([_mean_effect(size) for size in one.sizes])),
        "gauc": 0.5,
        "users": len(one.users),
    }


def _mean_effect(size: int) -> float:
    return sum(effect_d(rank) for rank in range(1, size + 1)) / size
