"""Trials: the rows on other users and with other seeds, so that a table's luck is known.

Candidates files and trained networks stay as they are. A trial draws users of each file, and is the
seed of what is written for them. What is kept of it lies apart from the tables' rows.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.evaluation.evaluation import Watch
from lab.tables import table2
from lab.tables.kept import KeptRow
from lab.tables.rows import ROWS
from lab.tables.standing import BELOW, COMPARED, OURS, PURE, Figures, best_other, common_mean
from lab.tables.table2 import Table2
from lab.tables.trial import Trial
from services.errors import ConfigurationError

METRICS = ("ndcg@1", "ndcg@10", "recall@10")


@dataclass(frozen=True)
class Trials:
    """`users`: drawn for each trial."""

    table: Table2
    number: int
    users: int


def run(trials: Trials, watch: Watch) -> list[list[KeptRow]]:
    """By trial. Rows that depend on nothing that a trial changes are those of Table 2."""
    table = trials.table
    settled = tuple(row for row in table.rows if not ROWS[row].varies)
    varied = tuple(row for row in table.rows if ROWS[row].varies)
    whole = table2.run(replace(table, rows=settled, users=None), watch) if settled else []
    found = []
    for seed in range(trials.number):
        trial = Trial(seed, trials.users)
        rows = [trial.of(one) for one in whole]
        if varied:
            rows += table2.run(replace(table, rows=varied, users=None, trial=trial), watch)
        found.append(rows)
        watch.tell("trials", seed + 1, trials.number)
    return found


def figures_of_trials(
    found: Sequence[Sequence[KeptRow]], wanted: Sequence[str]
) -> tuple[Figures, dict[str, Any]]:
    """A row counts where every trial has it."""
    shared = set.intersection(*({(one.candidates, one.row) for one in rows} for rows in found))
    if not shared:
        raise ConfigurationError(
            "no row is there for every trial: name rows that ask no model, or an --engine"
        )
    figures: Figures = {}
    detail: dict[str, Any] = {"trials": len(found), "candidates": {}}
    for file in dict.fromkeys(one.candidates for one in found[0]):
        trials = [
            {
                one.row: one
                for one in rows
                if (one.candidates, one.row) in shared and one.candidates == file
            }
            for rows in found
        ]
        told = [_spread(row, trials) for row in ROWS if row in trials[0]]
        for one in told:
            for metric in METRICS:
                figures[f"{file}.{one['row']}.{metric}"] = one[metric]["mean"]
                figures[f"{file}.{one['row']}.{metric}.sd"] = one[metric]["sd"]
        wins = _wins(trials)
        figures |= {f"{file}.wins.{name}": float(won) for name, won in wins.items()}
        detail["candidates"][file] = {"rows": told, "wins": wins}
    detail["missing"] = [row for row in wanted if row not in {name for _, name in shared}]
    return figures, detail


def _spread(row: str, trials: Sequence[dict[str, KeptRow]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "row": row,
        "users": [len(one[row].users) for one in trials],
        "engine": trials[0][row].engine,
        "mode": trials[0][row].mode,
    }
    for metric in METRICS:
        each = [common_mean(one[row], one[row], metric) for one in trials]
        told[metric] = {
            "mean": statistics.fmean(each), "sd": statistics.stdev(each), "trials": each,
        }  # fmt: skip
    return told


def _wins(trials: Sequence[dict[str, KeptRow]]) -> dict[str, int]:
    """In how many trials the one is ahead of the other; what is level is not."""
    found = {}
    there = trials[0]
    if PURE in there:
        for other in BELOW:
            if other in there:
                found[f"{PURE}_over_{other}"] = sum(_ahead(one[PURE], one[other]) for one in trials)
    if OURS in there and len(there) > 1:
        found[f"{OURS}_over_best_other"] = sum(
            (best := best_other(one[OURS], one)) is not None and _ahead(one[OURS], best)
            for one in trials
        )
    return found


def _ahead(one: KeptRow, other: KeptRow) -> bool:
    return common_mean(one, other, COMPARED) > common_mean(other, one, COMPARED)
