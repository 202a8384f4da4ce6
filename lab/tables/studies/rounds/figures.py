"""Figure 9 told from what its rounds have left: the ledgers, and the results of the test."""

from __future__ import annotations

import json
import math
import sqlite3
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.loop.names import ArmName
from lab.metrics import ndcg
from lab.statistics import paired_bootstrap
from lab.tables.studies.rounds.results import Put, Results, RoundTested
from lab.tables.studies.rounds.study import ARMS, ZERO_SHOT, Fig9
from services.errors import ConfigurationError

CUTOFF = 10
NAMES = {ArmName.PDO3: "perturbed", ArmName.PDO3_NO_PERTURBATION: "unperturbed"}
PERTURBED, UNPERTURBED = NAMES.values()

Figures = dict[str, float]
Spread = tuple[float, float]
"""Over users: a mean, and its standard error."""


@dataclass(frozen=True)
class Walked:
    """A round of a user, as the ledger tells it. `similarity` of what the paths wrote to what they
    had written before, their mean; None in the first round."""

    similarity: float | None
    perturbed: int
    collapsed: int


@dataclass(frozen=True)
class RoundOfUser:
    """`served` and `written` are nDCG@10 on the test: of what is served after the round, and the
    mean of all that was written in it (None: nothing was)."""

    user: str
    round: int
    walked: Walked
    served: float
    written: float | None


def read_rounds(study: Fig9) -> tuple[dict[str, list[RoundOfUser]], dict[str, float]]:
    """By arm, of the users who have every round in both; and their nDCG@10 without a text."""
    tested = Results(study.results).rows.values()
    arms = {}
    for arm in ARMS:
        walked = dict(_walked(study.database(arm)))
        arms[NAMES[arm]] = [
            _round_of_user(row, walked[row.user, row.round])
            for row in tested
            if row.arm == arm and row.round <= study.rounds and (row.user, row.round) in walked
        ]
    whole = set.intersection(*(_with_all(rows, study.rounds) for rows in arms.values()))
    if not whole:
        raise ConfigurationError(f"no user of {study.folder} has every round: look at its ledgers")
    bare = {row.user: _ndcg(row.served) for row in tested if row.arm == ZERO_SHOT}
    return (
        {arm: [row for row in rows if row.user in whole] for arm, rows in arms.items()},
        {user: bare[user] for user in sorted(whole)},
    )


def fig9_figures(
    arms: Mapping[str, Sequence[RoundOfUser]], bare: Mapping[str, float]
) -> tuple[Figures, dict[str, Any]]:
    """`arms` by name, both of the users of `bare`."""
    rounds = max(row.round for rows in arms.values() for row in rows)
    by_round = [
        {"round": number}
        | {arm: _told([row for row in rows if row.round == number]) for arm, rows in arms.items()}
        for number in range(1, rounds + 1)
    ]
    zero_shot = statistics.fmean(bare.values())
    figures = {"users": float(len(bare)), "zero_shot.ndcg@10": zero_shot}
    for arm, rows in arms.items():
        figures |= {f"{arm}.{name}": value for name, value in _of_arm(arm, rows, by_round).items()}
    last_half = {
        "ndcg@10": _compared(arms, rounds, lambda row: row.served),
        "written_ndcg@10": _compared(arms, rounds, lambda row: row.written),
        "similarity": _compared(arms, rounds, lambda row: row.walked.similarity),
    }
    for name, found in last_half.items():
        if found is not None:
            figures |= {f"difference.{name}": found["difference"], f"p.{name}": found["p"]}
    return figures, {
        "users": len(bare),
        "zero_shot": zero_shot,
        "rounds": by_round,
        "last_half": {name: found for name, found in last_half.items() if found is not None},
    }


def fig9_markdown(detail: Mapping[str, Any]) -> str:
    lines = [
        f"{detail['users']} users; mean ± standard error over users. nDCG@10 on the test of what "
        f"is served after the round (before the first: {detail['zero_shot']:.3f}), and in brackets "
        "of all that was written in it, unselected.",
        "",
        "| round | nDCG@10, perturbed | not perturbed | similarity, perturbed | not perturbed "
        "| perturbations | collapsed paths | not perturbed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in detail["rounds"]:
        mine, other = one[PERTURBED], one[UNPERTURBED]
        cells = [
            str(one["round"]), _served(mine), _served(other), _cell(mine["similarity"]),
            _cell(other["similarity"]), str(mine["perturbed"]), str(mine["collapsed"]),
            str(other["collapsed"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "With perturbation against without, means of each user's last half of the rounds:",
    ]
    lines += ["", "| | difference | 95 % | p |", "|---|---|---|---|"]
    for name, found in detail["last_half"].items():
        low, high = found["interval"]
        lines.append(
            f"| {name} | {found['difference']:+.3f} | {low:+.3f} to {high:+.3f} "
            f"| {found['p']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def _of_arm(
    arm: str, rows: Sequence[RoundOfUser], by_round: Sequence[Mapping[str, Any]]
) -> Figures:
    found = {
        "perturbations": float(sum(row.walked.perturbed for row in rows)),
        "collapses": float(sum(row.walked.collapsed for row in rows)),
    }
    for place, of_round in (("first", by_round[0][arm]), ("last", by_round[-1][arm])):
        for name, key in (
            ("ndcg@10", "served"), ("written_ndcg@10", "written"), ("similarity", "similarity"),
        ):  # fmt: skip
            if of_round[key] is not None:
                found[f"{name}.{place}"] = of_round[key][0]
    return found


def _told(rows: Sequence[RoundOfUser]) -> dict[str, Any]:
    return {
        "served": _spread([row.served for row in rows]),
        "written": _spread([row.written for row in rows]),
        "similarity": _spread([row.walked.similarity for row in rows]),
        "perturbed": sum(row.walked.perturbed for row in rows),
        "collapsed": sum(row.walked.collapsed for row in rows),
    }


def _compared(
    arms: Mapping[str, Sequence[RoundOfUser]],
    rounds: int,
    worth: Callable[[RoundOfUser], float | None],
) -> dict[str, Any] | None:
    """By user, so that what a user's rounds have in common does not count as many findings."""

    def by_user(arm: str) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for row in arms[arm]:
            value = worth(row)
            if row.round > rounds // 2 and value is not None:
                found.setdefault(row.user, []).append(value)
        return {user: statistics.fmean(values) for user, values in found.items()}

    mine, other = by_user(PERTURBED), by_user(UNPERTURBED)
    both = sorted(mine.keys() & other.keys())
    if not both:
        return None
    found = paired_bootstrap([mine[user] for user in both], [other[user] for user in both])
    return {"difference": found.difference, "interval": [found.low, found.high], "p": found.p}


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    error = statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else 0.0
    return statistics.fmean(known), error


def _round_of_user(row: RoundTested, walked: Walked) -> RoundOfUser:
    written = [_ndcg(put) for put in row.written]
    return RoundOfUser(
        row.user,
        row.round,
        walked,
        _ndcg(row.served),
        statistics.fmean(written) if written else None,
    )


def _ndcg(put: Put) -> float:
    return statistics.fmean(ndcg(rank, CUTOFF) for rank in put.ranks)


def _walked(database: Path) -> Iterator[tuple[tuple[str, int], Walked]]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT user_id, number, outcome FROM rounds WHERE state = 'done'"
        ).fetchall()
    for user, number, outcome in rows:
        yield (user, number), walked_of(json.loads(outcome)["paths"])


def walked_of(paths: Sequence[Mapping[str, Any]]) -> Walked:
    """From a round's outcome, path by path."""
    similar = [path["similarity"] for path in paths if path["similarity"] is not None]
    return Walked(
        statistics.fmean(similar) if similar else None,
        sum(path["perturbed"] is True for path in paths),
        sum(path["collapsed"] for path in paths),
    )


def _with_all(rows: Sequence[RoundOfUser], rounds: int) -> set[str]:
    known: dict[str, set[int]] = {}
    for row in rows:
        known.setdefault(row.user, set()).add(row.round)
    return {user for user, numbers in known.items() if len(numbers) == rounds}


def _served(of_round: Mapping[str, Any]) -> str:
    written = of_round["written"]
    inside = "" if written is None else f" ({written[0]:.3f})"
    return f"{_cell(of_round['served'])}{inside}"


def _cell(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread[0]:.3f} ± {spread[1]:.3f}"
