"""Trials as a table: the mean of each row, and how far trials differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.tables.markdown import meant_by
from lab.tables.trials import METRICS


def markdown(detail: Mapping[str, Any]) -> str:
    return "\n".join(
        _of_file(name, table, detail["trials"]) for name, table in detail["candidates"].items()
    )


def notes(detail: Mapping[str, Any]) -> list[str]:
    rows = [row for table in detail["candidates"].values() for row in table["rows"]]
    asked = {row["engine"]: row["mode"] for row in rows if row["engine"] is not None}
    found = [
        f"In the trials, rows that ask a model were made with {engine} (mode {mode}); "
        f"{meant_by(engine)}"
        for engine, mode in asked.items()
    ]
    if detail["missing"]:
        found.append(f"Not in the trials: {', '.join(detail['missing'])}.")
    return found


def cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            row["row"],
            *(f"{row[metric]['mean']:.3f} ± {row[metric]['sd']:.3f}" for metric in METRICS),
            _users(row["users"]),
        ]
        for row in rows
    ]


def win_lines(wins: Mapping[str, int], trials: int) -> list[str]:
    return [
        f"{name.replace('_over_', ' ahead of ').replace('best_other', 'the best other row')}: "
        f"{won} of {trials} trials"
        for name, won in wins.items()
    ]


def _of_file(name: str, table: Mapping[str, Any], trials: int) -> str:
    lines = [
        f"### Candidates: {name}",
        "",
        f"Mean ± standard deviation over {trials} trials.",
        "",
        "| row | nDCG@1 | nDCG@10 | Recall@10 | users |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(one)} |" for one in cells(table["rows"])),
        "",
    ]
    won = win_lines(table["wins"], trials)
    return "\n".join([*lines, *(f"- {line}" for line in won), *([""] if won else [])])


def _users(each: Sequence[int]) -> str:
    """The same in every trial, unless a file has too few."""
    return " or ".join(f"{one:,}" for one in sorted(set(each)))
