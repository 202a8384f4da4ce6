"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lab.tables.rows import RANDOM, ROWS
from lab.tables.standing import COMPARED, METRICS, told_beside

IN_DOMAIN = "in-domain LM"  # as its card names it
SHOWN = METRICS[:3]
NAMES = dict(zip(METRICS, ("nDCG@1", "nDCG@10", "Recall@10", "Effect_D", "GAUC"), strict=True))


def table2(detail: Mapping[str, Any], compared: str = COMPARED) -> str:
    """With another metric to compare rows by, the table of that metric."""
    parts = []
    for name, table in detail["candidates"].items():
        parts.append(_candidates(name, table["rows"], compared))
        parts += [f"- {line}" for line in reached_lines(table, compared)]
        if compared == COMPARED:
            parts += _by_history(table["by_history_together"])
        parts.append("")
    return "\n".join(parts)


def reached_lines(table: Mapping[str, Any], compared: str) -> list[str]:
    """How our rows stand to those that they have to be worth more than, in words."""
    return [
        f"{one['row']} over {one['other']}: {one['difference']:+.4f} {NAMES[compared]} "
        f"({one['interval'][0]:+.4f} to {one['interval'][1]:+.4f}, p {one['p']:.4f}, "
        f"{one['users']:,} users)" + _gained(one.get("gain", {}))
        for one in table["reached"]
    ]


def _gained(gain: Mapping[str, float]) -> str:
    if not gain:
        return ""
    told = ", ".join(f"{NAMES[metric]} {100 * share:+.2f} %" for metric, share in gain.items())
    return f"; in each metric over the row that is best in it: {told}"


def _by_history(buckets: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    rows = list(buckets)
    if len(rows) < 2:
        return []
    names = list(dict.fromkeys(one["history"] for row in rows for one in buckets[row]))
    lines = [
        "",
        f"{NAMES[COMPARED]} by length of the history, about users that all of these rows know:",
        "",
        f"| row | {' | '.join(names)} |",
        f"|---{'|---' * len(names)}|",
    ]
    for row in rows:
        inside = {one["history"]: one for one in buckets[row]}
        cells = [
            f"{_figure(inside[name][COMPARED])} ({inside[name]['users']:,})"
            if name in inside
            else ""
            for name in names
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def table4(detail: Mapping[str, Any]) -> str:
    return "\n".join(
        _engines(name, table["engines"]) for name, table in detail["candidates"].items()
    )


def notes(detail: Mapping[str, Any]) -> list[str]:
    """What limits a table's figures, in plain words."""
    rows = [row for table in detail["candidates"].values() for row in table["rows"]]
    found = []
    for engine in dict.fromkeys(row["engine"] for row in rows if row.get("engine")):
        asked = [row for row in rows if row.get("engine") == engine]
        users = sorted({row["users"] for row in asked})
        modes = ", ".join(sorted({row["mode"] for row in asked}))
        found.append(
            f"Rows that ask a model were made with {engine} (mode {modes}), about "
            f"{' or '.join(f'{one:,}' for one in users)} users of each file; {meant_by(engine)}"
        )
    if detail["missing"]:
        found.append(f"Not run: {', '.join(detail['missing'])}.")
    return found


def notes4(detail: Mapping[str, Any]) -> list[str]:
    """The same of a table with a column for each engine."""
    columns = [table["engines"] for table in detail["candidates"].values()]
    rows = [row for table in columns for one in table.values() for row in one["rows"]]
    asked = [row for row in rows if row.get("engine")]
    users = sorted({row["users"] for row in asked})
    modes = ", ".join(sorted({row["mode"] for row in asked}))
    names = ", ".join(dict.fromkeys(engine for table in columns for engine in table))
    found = [
        f"The columns of Table 4 were made with {names} (mode {modes}), about "
        f"{' or '.join(f'{one:,}' for one in users)} users of each file; "
        f"{_mean_together({row['engine'] for row in asked})}"
    ]
    for engine, missing in detail["missing"].items():
        found.append(f"Not run with {engine}: {', '.join(missing)}.")
    return found


def _mean_together(engines: Collection[str]) -> str:
    if set(engines) == {IN_DOMAIN}:
        return (
            "these are small models that were trained from nothing on the titles of this data set, "
            "by one recipe, so they say whether the methods compare alike in several "
            "architectures, and nothing of what they reach on instruct models. The same command "
            "with `--engine URL --model NAME` asks those."
        )
    return "other models may order these rows otherwise."


def meant_by(engine: str) -> str:
    if engine == IN_DOMAIN:
        return (
            "it is a small model that was trained from nothing on the titles of this data set, so "
            "these rows say how the methods compare on it, and nothing of what they reach on an "
            "instruct model. The same command with `--engine URL --model NAME` asks one."
        )
    return "another model may order these rows otherwise."


def _candidates(name: str, rows: Sequence[Mapping[str, Any]], compared: str) -> str:
    columns = ["row"]
    for metric in told_beside(compared):
        columns += [NAMES[metric], "95 %"] if metric == compared else [NAMES[metric]]
    columns += ["users", "λ", "against the best other row", "p"]
    columns += ["ranked worse than by zero_shot"] if compared == COMPARED else []
    lines = [
        f"### Candidates: {name}",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    return "\n".join([*lines, *(_line(row, compared) for row in rows), ""])


def _engines(name: str, columns: Mapping[str, Any]) -> str:
    lines = [
        f"### Candidates: {name}",
        "",
        "nDCG@1 / nDCG@10 / Recall@10 of each engine.",
        "",
        f"| row | {' | '.join(columns)} |",
        f"|---{'|---' * len(columns)}|",
    ]
    for row, cells in engine_cells(columns):
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def engine_cells(columns: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A line for each row that any engine has, then for each comparison; a cell for each engine."""
    by_row = [{row["row"]: row for row in column["rows"]} for column in columns.values()]
    found = []
    for name in (RANDOM, *ROWS):
        if any(name in rows for rows in by_row):
            rows = [one.get(name) for one in by_row]
            found.append((name, ["" if row is None else _three(row) for row in rows]))
    compared = [column["p"] for column in columns.values()]
    for other in dict.fromkeys(name for one in compared for name in one):
        ps = [one.get(other) for one in compared]
        if any(p is not None for p in ps):
            cells = ["" if p is None else f"{p:.4f}" for p in ps]
            found.append((f"p of lrgd over {other}", cells))
    return found


def _three(row: Mapping[str, Any]) -> str:
    return " / ".join(_figure(row[metric]) for metric in SHOWN)


def _line(row: Mapping[str, Any], compared: str) -> str:
    spread = " to ".join(map(_figure, row["interval"])) if "interval" in row else ""
    cells = [row["row"]]
    for metric in told_beside(compared):
        cells += [_figure(row[metric]), spread] if metric == compared else [_figure(row[metric])]
    cells += [f"{row['users']:,}", f"{row['lambda']:g}" if row.get("lambda") else ""]
    best = row.get("best_other")
    cells += ["", ""] if best is None else [
        f"{best['difference']:+.3f} ({best['row']})", f"{best['p']:.4f}",
    ]  # fmt: skip
    if compared == COMPARED:
        cells.append(_figure(row["harm_rate"]) if "harm_rate" in row else "")
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
