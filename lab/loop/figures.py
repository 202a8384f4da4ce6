"""Tables of what the loop has kept. Nothing is run again for them."""

from __future__ import annotations

import json
import math
import sqlite3
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lab.loop.arms import learning_arms
from lab.loop.loop import Loop
from lab.loop.names import ArmName
from lab.loop.served import by_kind
from lab.loop.testing import Tested, read_tested
from lab.metrics import ndcg, recall
from lab.statistics import estimate, paired_bootstrap, spearman
from services.ranking.effect import effect_d

CUTOFF = 10
COMPARED = (
    "zero_shot", "zero_shot_long", "zero_shot_longer", "generated", "generated_pair", "best_of_n",
    "pdo1", "pdo3_no_perturbation",
)  # fmt: skip

Figures = dict[str, float]
ByUser = Mapping[str, Sequence[Tested]]  # one for each seed


def loop_figures(loop: Loop) -> tuple[Figures, dict[str, Any]]:
    by_arm = {arm: _tested(loop, arm) for arm in loop.arms}
    figures: Figures = {}
    rows = []
    for arm, users in by_arm.items():
        if not users:
            continue
        figures |= {f"{arm}.{name}": value for name, value in _quality(users).items()}
        costs = _costs(loop, arm)
        figures |= {f"{arm}.{name}": value for name, value in costs.items()}
        spread = estimate(_per_user(users, _ndcg10))
        rows.append(
            {
                "arm": arm.value,
                "ndcg@10": spread.mean,
                "interval": [spread.low, spread.high],
                "served": _share_served(users),
                **costs,
            }
        )
    detail: dict[str, Any] = {"arms": rows, "users": loop.users, "seeds": loop.seeds}
    if by_arm.get(ArmName.PDO3):
        compared, table = _comparisons(by_arm)
        figures |= compared
        detail["pdo3_against"] = table
        figures |= _harm(by_arm)
        figures["perturbations"] = figures.get("pdo3.perturbations", 0.0)
        figures |= _within_user(by_arm[ArmName.PDO3], detail)
        detail["by_what_is_served"] = by_kind(loop, _worth(by_arm))
    return figures, detail


# --- what was reached -----------------------------------------------------------------------------


def _tested(loop: Loop, arm: ArmName) -> dict[str, list[Tested]]:
    by_user: dict[str, list[Tested]] = {}
    for seed in range(loop.seeds):
        files = [loop.results(seed, shard) for shard in range(loop.processes)]
        for (tested_arm, user), one in read_tested(files).items():
            if tested_arm == arm:
                by_user.setdefault(user, []).append(one)
    return dict(sorted(by_user.items()))


def _quality(users: ByUser) -> Figures:
    return {
        "ndcg@10": _mean(_per_user(users, _ndcg10)),
        "ndcg@1": _mean(_per_user(users, lambda rank: ndcg(rank, 1))),
        "recall@10": _mean(_per_user(users, lambda rank: recall(rank, CUTOFF))),
        "effect_d": _mean(_per_user(users, effect_d)),
    }


def _ndcg10(rank: int) -> float:
    return ndcg(rank, CUTOFF)


def _per_user(users: ByUser, worth: Any) -> list[float]:
    """The mean over seeds and draws."""
    return [
        _mean([worth(rank) for one in tested for rank in one.ranks]) for tested in users.values()
    ]


def _worth(by_arm: Mapping[ArmName, ByUser]) -> dict[ArmName, dict[str, float]]:
    return {
        arm: dict(zip(users, _per_user(users, _ndcg10), strict=True))
        for arm, users in by_arm.items()
        if users
    }


def _share_served(users: ByUser) -> float:
    return _mean([float(one.served) for tested in users.values() for one in tested])


def _comparisons(by_arm: Mapping[ArmName, ByUser]) -> tuple[Figures, list[dict[str, Any]]]:
    figures: Figures = {}
    table = []
    for name in COMPARED:
        users, ours = by_arm.get(ArmName(name), {}), by_arm[ArmName.PDO3]
        both = [user for user in ours if user in users]
        if not both:
            continue
        mine = _per_user({user: ours[user] for user in both}, _ndcg10)
        theirs = _per_user({user: users[user] for user in both}, _ndcg10)
        found = paired_bootstrap(mine, theirs)
        figures[f"p.pdo3_vs_{name}"] = found.p
        figures[f"ratio.pdo3_over_{name}"] = _mean(mine) / _mean(theirs)
        table.append(
            {
                "arm": name,
                "difference": found.difference,
                "interval": [found.low, found.high],
                "p": found.p,
                "ratio": _mean(mine) / _mean(theirs),
            }
        )
    return figures, table


def _harm(by_arm: Mapping[ArmName, ByUser]) -> Figures:
    """Users whose list became worse than without a demonstration, by more than the standard error
    of the paired difference over the draws."""
    bare = by_arm.get(ArmName.ZERO_SHOT)
    if not bare:
        return {}
    harmed = []
    for user, tested in by_arm[ArmName.PDO3].items():
        if user not in bare:
            continue
        differences = [
            mine - theirs
            for one, other in zip(tested, _as_many(bare[user], len(tested)), strict=True)
            for mine, theirs in zip(one.log_scores, other.log_scores, strict=True)
        ]
        noise = statistics.stdev(differences) / math.sqrt(len(differences))
        harmed.append(float(_mean(differences) < -noise))
    return {"harm_rate": _mean(harmed)}


def _as_many(tested: Sequence[Tested], size: int) -> list[Tested]:
    return [tested[place % len(tested)] for place in range(size)]


def _within_user(users: ByUser, detail: dict[str, Any]) -> Figures:
    """Do the held-out events order a user's variants as the test does?"""
    found = [
        spearman(*zip(*one.variants, strict=True))
        for tested in users.values()
        for one in tested
        if len(one.variants) > 2
    ]
    if not found:
        return {}
    spread = estimate(found)
    detail["spearman.within_user"] = {
        "users": len(found),
        "interval": [spread.low, spread.high],
    }
    return {"spearman.within_user": spread.mean}


# --- what it cost ---------------------------------------------------------------------------------


def _costs(loop: Loop, arm: ArmName) -> Figures:
    """Per user, from the ledgers; and how alike consecutive texts of a path were."""
    if arm not in learning_arms(loop.plan(0), loop.rounds):
        return {}
    rounds = list(_rounds(loop, arm))
    if not rounds:
        return {}
    users = len({(seed, user) for seed, user, *_ in rounds})
    similar: dict[bool, list[float]] = {False: [], True: []}
    perturbed, accepted, refused, written = 0, 0, 0, 0
    for *_, outcome in rounds:
        for path in outcome.get("paths", ()):
            fired = path.get("perturbed") is True
            if path["similarity"] is not None:
                similar[fired].append(path["similarity"])
            perturbed += fired
            accepted += path["accepted"]
            written += path["written"]
            refused += len(path.get("refusals", ()))
    sums = np.array([row[2:7] for row in rounds], dtype=float).sum(axis=0)
    calls, prompt, cached, completion, seconds = sums
    return _similarities(similar) | {
        "tokens": (prompt + completion) / users,
        "uncached_prompt_tokens": (prompt - cached) / users,
        "completion_tokens": completion / users,
        "calls": calls / users,
        "seconds": seconds / users,
        "perturbations": float(perturbed),
        "accepted": accepted / max(1, written),
        "refusals": refused / max(1, written + refused),
    }


def _similarities(found: Mapping[bool, Sequence[float]]) -> Figures:
    """Of consecutive texts: all, and by whether a perturbation fired. Paths of one round have none
    before theirs."""
    named = {
        "similarity": [*found[False], *found[True]],
        "similarity_perturbed": found[True],
        "similarity_unperturbed": found[False],
    }
    return {name: _mean(values) for name, values in named.items() if values}


def _rounds(loop: Loop, arm: ArmName) -> Iterator[tuple[Any, ...]]:
    for seed in range(loop.seeds):
        for shard in range(loop.processes):
            file = loop.database(arm, seed, shard)
            if not file.exists():
                continue
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
                rows = connection.execute(
                    "SELECT user_id, calls, prompt_tokens, cached_tokens, completion_tokens, "
                    "seconds, outcome FROM rounds WHERE state = 'done'"
                ).fetchall()
            for user, *costs, outcome in rows:
                yield seed, user, *costs, json.loads(outcome)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
