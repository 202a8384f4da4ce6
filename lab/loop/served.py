"""What users were served in the end, kind by kind: where an arm wins over others, and where not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from lab.loop.loop import Loop
from lab.loop.names import ArmName

_SERVED = """
SELECT switches.user_id, variants.path, rounds.outcome, variants.perturbation_id IS NOT NULL
FROM switches
JOIN variants ON variants.variant_id = switches.variant_id
JOIN rounds ON rounds.user_id = variants.user_id AND rounds.number = variants.round_number
WHERE switches.number = (
    SELECT max(number) FROM switches AS newer WHERE newer.user_id = switches.user_id
)
"""


class Kind(StrEnum):
    NOTHING = "nothing"
    SINGLE = "single"
    PAIR = "pair"
    PERTURBED_PAIR = "perturbed_pair"


def by_kind(
    loop: Loop, worth: Mapping[ArmName, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Of what pdo3 serves, with the first seed: how many users, and what each arm is worth to
    them."""
    kinds = _kinds(loop)
    groups: dict[Kind, list[str]] = {}
    for user in worth[ArmName.PDO3]:
        groups.setdefault(kinds.get(user, Kind.NOTHING), []).append(user)
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
            for user, path, outcome, is_pair in connection.execute(_SERVED):
                kinds[user] = _kind(json.loads(outcome), path, is_pair=bool(is_pair))
    return kinds


def _kind(outcome: Mapping[str, Any], path: int, *, is_pair: bool) -> Kind:
    if not is_pair:
        return Kind.SINGLE
    perturbed = any(
        one["path"] == path and one.get("perturbed") is True for one in outcome.get("paths", ())
    )
    return Kind.PERTURBED_PAIR if perturbed else Kind.PAIR
