"""SQL of what rounds learn from and leave behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event
from services.catalog.positives import PositiveEvents
from services.demonstrations.demonstration import Demonstration
from services.demonstrations.models import StoredDemonstration, StoredVariant, Switch
from services.demonstrations.repository import DemonstrationsRepository
from services.optimizer.models import CandidateSet, Evaluation, Path, Round
from services.optimizer.rules import Judged, Judgment, Kind
from services.prompts import Demonstrated
from services.storage.base import Base


@dataclass(frozen=True, slots=True)
class KnownVariant:
    """A row of variants with the texts it stands for; without any it is zero-shot."""

    row: StoredVariant
    current: StoredDemonstration | None
    perturbation: StoredDemonstration | None

    @property
    def variant_id(self) -> str:
        return self.row.variant_id

    @property
    def is_pair(self) -> bool:
        return self.perturbation is not None

    @property
    def kind(self) -> Kind | None:
        """None: zero-shot."""
        if self.current is None:
            return None
        if self.row.perturbed:
            return Kind.PERTURBED
        return Kind.PAIR if self.is_pair else Kind.SINGLE

    @property
    def demonstrated(self) -> Demonstrated | None:
        if self.current is None:
            return None
        perturbing = self.perturbation
        return Demonstrated(self.current.text, None if perturbing is None else perturbing.text)

    @property
    def demonstration(self) -> Demonstration:
        assert self.current is not None, "zero-shot has no demonstration"
        return Demonstration.model_validate(self.current.content)


class LearningRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._insert = (
            sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        )

    # --- what is known of a user -------------------------------------------------------------

    async def positives(
        self, user_id: str, positives: PositiveEvents, limit: int
    ) -> Sequence[tuple[str, str, datetime, int]]:
        """Oldest first, of the newest."""
        found = await self.session.execute(
            select(Event.event_id, Event.item_id, Event.occurred_at, Event.seq)
            .where(Event.user_id == user_id, positives.clause())
            .order_by(Event.occurred_at.desc(), Event.seq.desc())
            .limit(limit)
        )
        return [(event, item, at, seq) for event, item, at, seq in reversed(found.all())]

    async def candidate_sets(
        self, event_ids: Collection[str]
    ) -> dict[tuple[str, int], tuple[tuple[str, ...], tuple[float, ...]]]:
        found = await self.session.scalars(
            select(CandidateSet).where(CandidateSet.event_id.in_(event_ids))
        )
        return {(row.event_id, row.draw): (tuple(row.item_ids), tuple(row.priors)) for row in found}

    async def store_candidate_sets(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._store(CandidateSet, rows)

    # --- variants ----------------------------------------------------------------------------

    async def variants(self, user_id: str) -> list[KnownVariant]:
        """All of a user, oldest first."""
        found = await self.session.scalars(
            select(StoredVariant)
            .where(StoredVariant.user_id == user_id)
            .order_by(StoredVariant.round_number, StoredVariant.path)
        )
        rows = list(found)
        wanted = {id_ for row in rows for id_ in (row.current_id, row.perturbation_id) if id_}
        texts = await self.demonstrations(wanted)
        return [
            KnownVariant(
                row,
                texts[row.current_id] if row.current_id else None,
                texts[row.perturbation_id] if row.perturbation_id else None,
            )
            for row in rows
        ]

    async def demonstrations(
        self, demonstration_ids: Collection[str]
    ) -> dict[str, StoredDemonstration]:
        if not demonstration_ids:
            return {}
        found = await self.session.scalars(
            select(StoredDemonstration).where(
                StoredDemonstration.demonstration_id.in_(sorted(demonstration_ids))
            )
        )
        return {row.demonstration_id: row for row in found}

    async def store_demonstrations(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._store(StoredDemonstration, rows)

    async def store_variants(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._store(StoredVariant, rows)

    async def judge(self, judgment: Judgment, fingerprint: str | None) -> None:
        """Without a fingerprint: it was not evaluated now, and its figures are what they were."""
        figures = {
            "effect_d": judgment.quality.effect_d,
            "log_score": judgment.quality.log_score,
            "fingerprint": fingerprint,
            "stale": False,
        }
        await self.session.execute(
            update(StoredVariant)
            .where(StoredVariant.variant_id == judgment.variant_id)
            .values(
                accepted=judgment.accepted,
                incumbent=judgment.incumbent,
                effective=judgment.effective,
                **(figures if fingerprint is not None else {}),
            )
        )

    # --- evaluations -------------------------------------------------------------------------

    async def judged(
        self, variant_ids: Collection[str], fingerprint: str, questions: Collection[str]
    ) -> dict[str, list[Judged]]:
        """By variant: what was found under this fingerprint on these very questions."""
        found = await self.session.execute(
            select(
                Evaluation.variant_id, Evaluation.event_id, Evaluation.draw,
                Evaluation.rank, Evaluation.log_score,
            ).where(
                Evaluation.variant_id.in_(sorted(variant_ids)),
                Evaluation.fingerprint == fingerprint,
                Evaluation.question.in_(sorted(questions)),
            )
        )  # fmt: skip
        by_variant: dict[str, list[Judged]] = {}
        for variant_id, event_id, draw, rank, score in found:
            judged = Judged(event_id, draw, rank, score)
            by_variant.setdefault(variant_id, []).append(judged)
        return by_variant

    async def store_evaluations(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._store(Evaluation, rows)

    # --- paths and switches ------------------------------------------------------------------

    async def paths(self, user_id: str) -> dict[int, Path]:
        found = await self.session.scalars(select(Path).where(Path.user_id == user_id))
        return {row.path: row for row in found}

    async def save_paths(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            await self.session.execute(
                delete(Path).where(Path.user_id == row["user_id"], Path.path == row["path"])
            )
        await self._store(Path, rows)

    async def switched(self, user_id: str) -> int:
        """How often what is served to the user has changed."""
        query = select(func.max(Switch.number)).where(Switch.user_id == user_id)
        return await self.session.scalar(query) or 0

    async def switch(
        self, user_id: str, variant_id: str | None, reason: str, now: datetime
    ) -> int | None:
        """The number of the new switch; None where this is what is served already."""
        newest = await DemonstrationsRepository(self.session).newest_switch(user_id)
        served = None if newest is None else newest.variant_id
        if served == variant_id:
            return None
        number = 1 if newest is None else newest.number + 1
        row = Switch(
            user_id=user_id, number=number, variant_id=variant_id, reason=reason, made_at=now
        )
        self.session.add(row)
        return number

    # --- notes of a round under way ------------------------------------------------------------

    async def notes(self, round_id: str) -> dict[str, Any]:
        return (
            await self.session.scalar(select(Round.outcome).where(Round.round_id == round_id)) or {}
        )

    async def note(self, round_id: str, notes: Mapping[str, Any]) -> None:
        await self.session.execute(
            update(Round).where(Round.round_id == round_id).values(outcome=dict(notes))
        )

    async def _store(self, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
        """What is there already stays: every step may be done twice."""
        if rows:
            statement = self._insert(table).on_conflict_do_nothing()
            await self.session.execute(statement, [dict(row) for row in rows])
