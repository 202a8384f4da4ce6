"""What the walks over all users' landscapes come to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.statistics import estimate, paired_bootstrap
from lab.tables.studies.collapse.landscape import Landscape
from lab.tables.studies.collapse.trials import (
    MOST_PATHS,
    PDO1,
    RANDOM,
    Trial,
    as_many,
    perturbed_arm,
    unperturbed_arm,
)

Figures = dict[str, float]
ByArm = Mapping[str, Sequence[Trial]]  # a trial for each user, in one order

MEASURES: Mapping[str, Callable[[Trial], float]] = {
    "at_optimum": lambda one: one.at_optimum,
    "regret": lambda one: one.regret,
    "regret_effect_d": lambda one: one.regret_effect_d,
}
COMPARED = ("at_optimum", "regret")


def of_landscapes(lands: Sequence[Landscape]) -> Figures:
    """What there is to find, and to get stuck in."""
    local = [len(land.optima) - 1 for land in lands]
    return {
        "users": float(len(lands)),
        "places": statistics.fmean(len(land.places) for land in lands),
        "local_optima": statistics.fmean(local),
        "users_with_local_optima": statistics.fmean(one > 0 for one in local),
        "local_optima.regret": _mean(
            [land.regret(place) for land in lands for place in land.optima - {land.best}]
        ),
        "any_place.regret": statistics.fmean(
            statistics.fmean(map(land.regret, land.places)) for land in lands
        ),
    }


def collapse_figures(
    lands: Sequence[Landscape],
    found: Sequence[Mapping[str, Trial]],
    rounds: int,
    windows: Sequence[int],
) -> tuple[Figures, dict[str, Any]]:
    """`found` by user, then by arm."""
    by_arm = {arm: [one[arm] for one in found] for arm in found[0]}
    figures = of_landscapes(lands)
    rows = []
    for arm in _order(by_arm):
        trials = by_arm[arm]
        of_arm = _of_arm(trials)
        figures |= {f"{arm}.{name}": value for name, value in of_arm.items()}
        spread = estimate([one.at_optimum for one in trials])
        texts = trials[0].paths * len(trials[0].curve)
        rows.append({"arm": arm, "texts": texts, "interval": [spread.low, spread.high], **of_arm})
    compared = _comparisons(by_arm, windows)
    for one in compared:
        for measure in COMPARED:
            figures[f"p.{one['arm']}_vs_{one['other']}.{measure}"] = one[measure]["p"]
    return figures, {
        "landscapes": of_landscapes(lands),
        "rounds": rounds,
        "paths": list(range(2, MOST_PATHS + 1)),
        "windows": list(windows),
        "arms": rows,
        "compared": compared,
        "curves": {
            arm: {
                "texts_per_round": by_arm[arm][0].paths,
                "regret": [
                    statistics.fmean(of_round)
                    for of_round in zip(*(one.curve for one in by_arm[arm]), strict=True)
                ],
            }
            for arm in _drawn(by_arm)
        },
    }


def collapse_markdown(detail: Mapping[str, Any]) -> str:
    land = detail["landscapes"]
    lines = [
        f"{land['users']:.0f} users, {land['places']:.0f} demonstrations each, all judged; "
        f"{land['local_optima']:.1f} local optima beside the global one, "
        f"{land['local_optima.regret']:.2f} of log-score behind it (a demonstration at random: "
        f"{land['any_place.regret']:.2f}). {detail['rounds']} rounds; means over users and walks.",
        "",
        "| | texts | best at the global optimum | 95 % | regret, log-score | regret, Effect_D "
        "| paths stuck | perturbed texts | of them accepted | of stuck paths' accepted "
        "| of the others |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, detail["arms"]),
        "",
        "| | against | difference at the optimum | 95 % | p | difference in regret | 95 % | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in detail["compared"]:
        cells = [one["arm"], one["other"]]
        for measure in COMPARED:
            found = one[measure]
            low, high = found["interval"]
            cells += [
                f"{found['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}", f"{found['p']:.4f}",
            ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of_arm(trials: Sequence[Trial]) -> Figures:
    found = {name: statistics.fmean(map(measure, trials)) for name, measure in MEASURES.items()}
    stuck = [one.stuck for one in trials if one.stuck is not None]
    if stuck:
        found["stuck"] = statistics.fmean(stuck)
    for name in ("perturbed", "perturbed_when_stuck", "others"):
        shares = [getattr(one, name) for one in trials]
        # Of all texts of all users: a user with few of them tells little.
        written = math.fsum(one.written for one in shares)
        if written:
            found[name] = written / len(shares)
            found[f"{name}.accepted"] = math.fsum(one.accepted for one in shares) / written
    return found


def _comparisons(by_arm: ByArm, windows: Sequence[int]) -> list[dict[str, Any]]:
    compared = []
    for paths in range(2, MOST_PATHS + 1):
        bare = unperturbed_arm(paths)
        perturbed = [perturbed_arm(paths, window) for window in windows]
        for arm, other in (
            *((arm, bare) for arm in perturbed),
            *((arm, as_many(PDO1, paths)) for arm in (*perturbed, bare)),
            *((arm, as_many(RANDOM, paths)) for arm in (*perturbed, bare)),
        ):
            row: dict[str, Any] = {"arm": arm, "other": other}
            for measure in COMPARED:
                found = paired_bootstrap(
                    [MEASURES[measure](one) for one in by_arm[arm]],
                    [MEASURES[measure](one) for one in by_arm[other]],
                )
                row[measure] = {
                    "difference": found.difference,
                    "interval": [found.low, found.high],
                    "p": found.p,
                }
            compared.append(row)
    return compared


def _order(by_arm: ByArm) -> list[str]:
    """By number of texts, what is compared together."""
    return sorted(by_arm, key=lambda arm: by_arm[arm][0].paths * len(by_arm[arm][0].curve))


def _drawn(by_arm: ByArm) -> list[str]:
    """The longest of what is cut at several lengths stands for all of it."""
    cut = {as_many(arm, paths) for arm in (PDO1, RANDOM) for paths in range(1, MOST_PATHS)} | {PDO1}
    return [arm for arm in _order(by_arm) if arm not in cut]


def _row(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    cells = [
        row["arm"], str(row["texts"]), f"{row['at_optimum']:.3f}", f"{low:.3f} to {high:.3f}",
        f"{row['regret']:.3f}", f"{row['regret_effect_d']:.3f}", _cell(row.get("stuck")),
        _cell(row.get("perturbed"), 1), _cell(row.get("perturbed.accepted")),
        _cell(row.get("perturbed_when_stuck.accepted")), _cell(row.get("others.accepted")),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _cell(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
