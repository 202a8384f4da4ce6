"""The plots of studies of paths: round by round, with perturbation and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.run_plot import COLORS, ZERO_SHOT
from cli.svg import Line, Panel, figure

SEARCHED = "#333333"


def fig9(detail: Mapping[str, Any]) -> dict[str, str]:
    """In the form of the paper's: what is served on the test, and similarity. Bars are standard
    errors over users."""
    rounds = detail["rounds"]
    places = [float(one["round"]) for one in rounds]
    arms = [name for name in rounds[0] if name != "round"]

    def lines(key: str) -> list[Line]:
        return [_of_arm(arm, color, rounds, key) for arm, color in zip(arms, COLORS, strict=False)]

    bare = Line("zero-shot", ZERO_SHOT, places, [detail["zero_shot"]] * len(places), dashed=True)
    return {
        "fig9": figure(
            f"Rounds with and without perturbation: {detail['users']} users",
            [
                Panel("nDCG@10 on the test, served", "round", [*lines("served"), bare]),
                Panel("similarity to the path's text before", "round", lines("similarity")),
            ],
        )
    }


def collapse(detail: Mapping[str, Any]) -> dict[str, str]:
    """Regret by round, a panel for each window s; and by texts, beside what needs no paths."""
    panels = [
        Panel(
            f"regret by round, s = {window}",
            "round",
            [
                *_by_paths(detail, "", f"_window{window}", dashed=False),
                *_by_paths(detail, ", unperturbed", "_unperturbed", dashed=True),
            ],
        )
        for window in detail["windows"]
    ]
    panels.append(Panel("regret by texts written", "texts", _by_texts(detail)))
    users = detail["landscapes"]["users"]
    return {"collapse": figure(f"Log-score behind the global optimum: {users:.0f} users", panels)}


def _of_arm(arm: str, color: str, rounds: Sequence[Mapping[str, Any]], key: str) -> Line:
    spreads = [one[arm][key] for one in rounds]
    return Line(
        arm,
        color,
        [float(one["round"]) for one in rounds],
        [None if spread is None else spread[0] for spread in spreads],
        errors=[None if spread is None else spread[1] for spread in spreads],
    )


def _by_paths(detail: Mapping[str, Any], named: str, arm: str, *, dashed: bool) -> list[Line]:
    lines = []
    for paths, color in zip(detail["paths"], COLORS, strict=False):
        regret = detail["curves"][f"pdo{paths}{arm}"]["regret"]
        rounds = [float(number) for number in range(1, len(regret) + 1)]
        name = f"{paths}-PDO{named}"
        lines.append(Line(name, color, rounds, regret, dashed=dashed, width=1.2))
    return lines


def _by_texts(detail: Mapping[str, Any]) -> list[Line]:
    most = detail["paths"][-1]
    wanted = {
        f"{most}-PDO, s = {window}": f"pdo{most}_window{window}" for window in detail["windows"]
    } | {
        f"{most}-PDO, unperturbed": f"pdo{most}_unperturbed",
        "1-PDO": f"pdo1_as_many_as_pdo{most}",
        "random search": f"random_as_many_as_pdo{most}",
    }
    lines = []
    for (name, arm), color in zip(wanted.items(), (*COLORS[3:], SEARCHED), strict=False):
        curve = detail["curves"][arm]
        texts = [float(curve["texts_per_round"] * n) for n in range(1, len(curve["regret"]) + 1)]
        lines.append(Line(name, color, texts, curve["regret"], width=1.0))
    return lines
