"""What users were served in the end, kind by kind: where an arm wins over others, and where not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from lab.loop.loop import Loop
from lab.loop.names import ArmName
from services.optimizer.rules import Kind

_SERVED = """
SELECT switches.user_id, variants.perturbation_id IS NOT NULL, variants.perturbed
FROM switches
JOIN variants ON variants.variant_id = switches.variant_id
WHERE switches.number = (
    SELECT max(number) FROM switches AS newer WHERE newer.user_id = switches.user_id
)
"""
NOTHING = "nothing"


def by_kind(
    loop: Loop, worth: Mapping[ArmName, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Of what pdo3 serves, with the first seed: how many users, and what each arm is worth to
    them."""
    kinds = _kinds(loop)
    groups: dict[str, list[str]] = {}
    for user in worth[ArmName.PDO3]:
        groups.setdefault(kinds.get(user, NOTHING), []).append(user)
    return {
        kind: {"users": len(users)}
        | {
            arm.value: float(np.mean(_known(found, users)))
            for arm, found in worth.items()
            if _known(found, users)
        }
        for kind, users in sorted(groups.items())
    }


def _known(found: Mapping[str, float], users: Sequence[str]) -> list[float]:
    return [found[user] for user in users if user in found]


def _kinds(loop: Loop) -> dict[str, Kind]:
    kinds = {}
    for shard in range(loop.processes):
        file = loop.database(ArmName.PDO3, 0, shard)
        if not file.exists():
            continue
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
            for user, is_pair, perturbed in connection.execute(_SERVED):
                whole = Kind.PAIR if is_pair else Kind.SINGLE
                kinds[user] = Kind.PERTURBED if perturbed else whole
    return kinds
