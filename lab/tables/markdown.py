"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.tables.standing import METRICS


def table2(detail: Mapping[str, Any]) -> str:
    return "\n".join(
        _candidates(name, table["rows"]) for name, table in detail["candidates"].items()
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
            f"{' or '.join(f'{one:,}' for one in users)} users of each file; {_means(engine)}"
        )
    if detail["missing"]:
        found.append(f"Not run: {', '.join(detail['missing'])}.")
    return found


def _means(engine: str) -> str:
    if engine == "in-domain LM":
        return (
            "it is a small model that was trained from nothing on the titles of this data set, so "
            "these rows say how the methods compare on it, and nothing of what they reach on an "
            "instruct model. The same command with `--engine URL --model NAME` asks one."
        )
    return "another model may order these rows otherwise."


def _candidates(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"### Candidates: {name}",
        "",
        "| row | nDCG@1 | nDCG@10 | 95 % | Recall@10 | Effect_D | GAUC | users | λ "
        "| against the best other row | p | ranked worse than by zero_shot |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(row) for row in rows), ""])


def _line(row: Mapping[str, Any]) -> str:
    ndcg1, ndcg10, recall, effect, gauc = (_figure(row[metric]) for metric in METRICS)
    spread = " to ".join(map(_figure, row["interval"])) if "interval" in row else ""
    cells = [row["row"], ndcg1, ndcg10, spread, recall, effect, gauc, f"{row['users']:,}"]
    cells.append(f"{row['lambda']:g}" if row.get("lambda") else "")
    best = row.get("best_other")
    cells += ["", ""] if best is None else [
        f"{best['difference']:+.3f} ({best['row']})", f"{best['p']:.4f}",
    ]  # fmt: skip
    cells.append(_figure(row["harm_rate"]) if "harm_rate" in row else "")
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
