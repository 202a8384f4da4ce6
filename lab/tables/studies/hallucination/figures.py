"""What the rows of `hallucination` say: how often lists leave the candidates, what the loose rule
makes of them, and whether that goes with Effect_D."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lab.statistics import Estimate, estimate
from lab.tables.studies.correlations import Pairs, across_users
from lab.tables.studies.hallucination.study import rate_of
from services.ranking.written import Reading

Row = Mapping[str, Any]
MEASURES = ("effect_d", "scored_effect_d")


def figures_of(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, Any]]:
    figures: dict[str, float] = {"users": float(len({row["user"] for row in rows}))}
    table, correlated = [], []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        mine = [row for row in rows if row["condition"] == condition]
        for name in ("all", *dict.fromkeys(row["set"] for row in mine)):
            some = mine if name == "all" else [row for row in mine if row["set"] == name]
            line = {"condition": condition, "set": name, "lists": len(some), **_means(some)}
            spread = _by_user(some, rate_of)
            line["interval"] = [spread.low, spread.high]
            table.append(line)
            if name == "all":
                figures |= {f"{condition}.{key}": value for key, value in _means(some).items()}
        for measure in MEASURES:
            found = across_users(_pairs(mine, measure))
            if found is not None:
                correlated.append(
                    {"condition": condition, "measure": measure, "mean": found.mean,
                     "interval": [found.low, found.high]}
                )  # fmt: skip
                figures[f"{condition}.correlation.{measure}"] = found.mean
    return figures, {
        "lists": table,
        "correlated": correlated,
        "points": {
            condition: [pair for pairs in _pairs(_of(rows, condition), MEASURES[0]).values()
                        for pair in pairs]
            for condition in dict.fromkeys(row["condition"] for row in rows)
        },
    }  # fmt: skip


def _of(rows: Sequence[Row], condition: str) -> list[Row]:
    return [row for row in rows if row["condition"] == condition]


def _means(rows: Sequence[Row]) -> dict[str, float]:
    def mean(of: Callable[[Row], float]) -> float:
        return float(np.mean([of(row) for row in rows]))

    return {
        "effect_d": mean(lambda row: row["effect_d"]),
        "out_of_list": mean(rate_of),
        "leaves": mean(lambda row: row["out_of_list"] > 0),
        "malformed": mean(lambda row: row["reading"] == Reading.MALFORMED),
        "repeated": mean(lambda row: row["repeated"] / row["asked"]),
        "missing": mean(lambda row: row["missing"] / row["asked"]),
        "named": mean(lambda row: row["named"]),
        "loosely_named": mean(lambda row: row["loosely_named"]),
        "loosely_malformed": mean(lambda row: row["loosely_named"] == 0),
        "loose_effect_d": mean(lambda row: row["loose_effect_d"]),
    }


def _by_user(rows: Sequence[Row], of: Callable[[Row], float]) -> Estimate:
    users: dict[str, list[float]] = {}
    for row in rows:
        users.setdefault(row["user"], []).append(of(row))
    return estimate([float(np.mean(values)) for values in users.values()])


def _pairs(rows: Sequence[Row], measure: str) -> dict[str, Pairs]:
    """By user, of each demonstration, and of none: the share out of the list, and Effect_D; means
    over draws."""
    texts: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        texts.setdefault((row["user"], row["text"]), []).append(row)
    found: dict[str, list[tuple[float, float]]] = {}
    for (user, _), mine in texts.items():
        rate = float(np.mean([rate_of(row) for row in mine]))
        found.setdefault(user, []).append((rate, float(np.mean([row[measure] for row in mine]))))
    return dict(found)


def markdown(figures: Mapping[str, float], detail: Mapping[str, Any]) -> str:
    lines = [
        f"{figures['users']:,.0f} users of the generated shop. *Out of the list*: of the entries "
        "read strictly, those that are no candidate; *leave*: lists with any. *Loosely named*: "
        "candidates whose title or label stands in the output, or half the words of whose title "
        "do. *Malformed*: lists that name no candidate.",
        "",
        "| condition | demonstration | lists | out of the list | 95 % | leave | malformed "
        "| repeated | missing | Effect_D | named | loosely named | malformed, loose rule "
        "| Effect_D, loose rule |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_line, detail["lists"]),
        "",
        *_said_of_correlation(detail),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    shares = " | ".join(f"{row[key]:.3f}" for key in ("leaves", "malformed", "repeated", "missing"))
    return (
        f"| {row['condition']} | {row['set']} | {row['lists']:,} | {row['out_of_list']:.3f} "
        f"| {low:.3f} to {high:.3f} | {shares} | {row['effect_d']:.3f} | {row['named']:.1f} "
        f"| {row['loosely_named']:.1f} | {row['loosely_malformed']:.3f} "
        f"| {row['loose_effect_d']:.3f} |"
    )


def _said_of_correlation(detail: Mapping[str, Any]) -> list[str]:
    stays = [
        row["condition"]
        for row in detail["lists"]
        if row["set"] == "all" and row["out_of_list"] == 0
    ]
    lines = []
    if stays:
        lines.append(f"No list leaves the candidates under: {', '.join(stays)}.\n")
    if detail["correlated"]:
        lines += [
            "Rank correlation, over demonstrations, of the share out of the list with Effect_D: of "
            "the list itself (an entry out of the list takes a place in it), and of the order that "
            "scores of the same demonstration give (`scored_effect_d`). Intervals by bootstrap "
            "over users.",
            "",
            "| condition | measure | correlation | 95 % |",
            "|---|---|---|---|",
        ]
        for one in detail["correlated"]:
            low, high = one["interval"]
            lines.append(
                f"| {one['condition']} | {one['measure']} | {one['mean']:+.3f} "
                f"| {low:+.3f} to {high:+.3f} |"
            )
    return lines
