"""What each path of a round is asked to write, and the rows that are left of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from services.demonstrations.demonstration import Demonstration
from services.demonstrations.generation import GeneratorPrompt, Remembered, generator_prompt
from services.demonstrations.generator import Task
from services.demonstrations.models import StoredDemonstration
from services.optimizer.decision import Found
from services.optimizer.learning_repository import KnownVariant
from services.optimizer.ledger import Claimed
from services.optimizer.models import Path
from services.optimizer.plan import Plan
from services.optimizer.rules import (
    PathState,
    chance,
    companion,
    order_of_memory,
    perturbation,
    seed_of,
)
from services.optimizer.under_way import ZERO_SHOT_PATH, UnderWay


@dataclass(frozen=True, slots=True)
class Asked:
    """`beside_id` is what the text will be shown beside, as X_D_per. `collapsed`: a perturbation of
    the writing was wanted; `perturbed`: and another path had one to lend."""

    prompt: GeneratorPrompt
    beside_id: str | None
    collapsed: bool
    perturbed: bool

    def task(self, claimed: Claimed, path: int, attempt: int) -> Task:
        purpose = f"write {attempt}"
        return Task(
            self.prompt,
            seed_of(claimed.plan.seed, claimed.user_id, path, claimed.number, purpose),
            claimed.plan.perturbed_temperature if self.perturbed else None,
        )


def what_is_asked(going: UnderWay) -> dict[int, Asked]:
    """By path. A collapsed path is lent a demonstration of another one, and writes something else
    beside it; the others write as they see the user. Texts are shown beside the best one of another
    path; or, where the run does not want that, beside what they were lent."""
    plan, claimed, texts, found = going.claimed.plan, going.claimed, going.texts, going.found
    latest = {row.path: row.last_id for row in going.paths.values() if row.last_id is not None}
    asked = {}
    for path in range(plan.paths):
        collapsed = plan.perturbed and path in going.paths and going.paths[path].collapsed
        lent = _lent(going, path, found.effective, latest) if collapsed else None
        prompt = generator_prompt(
            going.material.snapshot,
            plan.view(path) if lent is None else plan.perturbed_view(path, claimed.number),
            going.count,
            memory=_memory(found.effective) if plan.remembered else (),
            perturbation=None if lent is None else _read_back(texts[lent]),
        )
        beside = _companion(plan, path, found, latest) if plan.paired else lent
        asked[path] = Asked(prompt, beside, collapsed, lent is not None)
    return asked


def _lent(
    going: UnderWay, path: int, effective: Sequence[KnownVariant], latest: Mapping[int, str]
) -> str | None:
    claimed = going.claimed
    by_path: dict[int, list[str]] = {}
    for one in effective:
        by_path.setdefault(one.row.path, []).append(one.row.current_id or "")
    rng = chance(claimed.plan.seed, claimed.user_id, path, claimed.number, "perturbation")
    return perturbation(path, by_path, latest, rng)


def _companion(plan: Plan, path: int, found: Found, latest: Mapping[int, str]) -> str | None:
    standings = found.standings(found.incumbents)
    other = companion(path, standings, latest, plan.best_by)
    if other is None:
        return None
    best = found.incumbents.get(other)
    stands = any(one.path == other for one in standings)
    return best.row.current_id if best is not None and stands else latest[other]


def _memory(effective: Sequence[KnownVariant]) -> list[Remembered]:
    best = sorted(
        effective,
        key=lambda one: order_of_memory(one.row.effect_d, one.row.log_score, one.variant_id),
    )
    return [Remembered(one.demonstration, one.row.effect_d or 0.0) for one in best]


def _read_back(stored: StoredDemonstration) -> Demonstration:
    return Demonstration.model_validate(stored.content)


# --- rows ---------------------------------------------------------------------------------------


def zero_shot_row(user_id: str, now: datetime) -> dict[str, Any]:
    return {
        "variant_id": _id("var", user_id, 0, ZERO_SHOT_PATH),
        "user_id": user_id,
        "path": ZERO_SHOT_PATH,
        "round_number": 0,
        "made_at": now,
    }


def demonstration_row(
    claimed: Claimed, path: int, written: Demonstration, now: datetime
) -> dict[str, Any]:
    return {
        "demonstration_id": _id("dem", claimed.user_id, claimed.number, path),
        "user_id": claimed.user_id,
        "content": written.model_dump(mode="json"),
        "text": written.as_text(),
        "made_at": now,
    }


def variant_row(
    claimed: Claimed, path: int, asked: Asked, tokens: int, now: datetime
) -> dict[str, Any]:
    return {
        "variant_id": _id("var", claimed.user_id, claimed.number, path),
        "user_id": claimed.user_id,
        "path": path,
        "round_number": claimed.number,
        "current_id": _id("dem", claimed.user_id, claimed.number, path),
        "perturbation_id": asked.beside_id,
        "perturbed": asked.perturbed,
        "tokens": tokens,
        "made_at": now,
    }


def path_row(
    user_id: str, path: int, state: PathState, written: str | None, before: Mapping[int, Path]
) -> dict[str, Any]:
    known = before.get(path)
    return {
        "user_id": user_id,
        "path": path,
        "rounds": state.rounds,
        "collapsed": state.collapsed,
        "steps": [asdict(step) for step in state.steps],
        "last_id": written or (None if known is None else known.last_id),
    }


def _id(kind: str, user_id: str, number: int, path: int) -> str:
    """The same for the same place: what is done twice is stored once."""
    digest = hashlib.sha256(f"{user_id}\n{number}\n{path}".encode()).hexdigest()[:24]
    return f"{kind}-{digest}"
