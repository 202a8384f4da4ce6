"""All SQL of experiments: which there are, and what came of the lists they served."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Subquery,
    and_,
    column,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event
from services.catalog.positives import PositiveEvents
from services.recommendations.arms import Arm, ExperimentState
from services.recommendations.models import StoredExperiment, StoredReply


class Served(NamedTuple):
    """So many lists of an arm to one user."""

    arm: str
    user_id: str
    lists: int


class Answered(NamedTuple):
    """So many lists of an arm whose first answer of one user was the item at `rank`; None: an item
    that is not in the list."""

    arm: str
    user_id: str
    rank: int | None
    lists: int


class FirstAnswer(NamedTuple):
    recommendation_id: str
    seq: int
    experiment_id: str | None
    arm: str | None
    rank: int | None


class ExperimentsRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.dialect = session.get_bind().dialect.name

    # --- experiments ------------------------------------------------------------------------

    async def running(self) -> StoredExperiment | None:
        return await self.session.scalar(
            select(StoredExperiment).where(StoredExperiment.state == ExperimentState.RUNNING)
        )

    async def all(self) -> Sequence[StoredExperiment]:
        """Newest first."""
        query = select(StoredExperiment).order_by(
            StoredExperiment.made_at.desc(), StoredExperiment.experiment_id
        )
        return (await self.session.scalars(query)).all()

    async def experiment(self, experiment_id: str) -> StoredExperiment | None:
        return await self.session.get(StoredExperiment, experiment_id)

    async def start(self, experiment_id: str, arms: Sequence[Arm], now: datetime) -> bool:
        """False where one of this id exists or another one runs."""
        insert = (postgresql if self.dialect == "postgresql" else sqlite).insert(StoredExperiment)
        started = await self.session.scalar(
            insert.values(
                experiment_id=experiment_id,
                arms=[arm.model_dump(mode="json") for arm in arms],
                state=ExperimentState.RUNNING,
                made_at=now,
            )
            .on_conflict_do_nothing()
            .returning(StoredExperiment.experiment_id)
        )
        return started is not None

    async def stop(self, experiment_id: str, now: datetime) -> None:
        """One that was stopped before stays stopped since then."""
        await self.session.execute(
            update(StoredExperiment)
            .where(
                StoredExperiment.experiment_id == experiment_id,
                StoredExperiment.state == ExperimentState.RUNNING,
            )
            .values(state=ExperimentState.STOPPED, stopped_at=now)
        )

    # --- what came of it ----------------------------------------------------------------------

    async def served(self, experiment_id: str) -> list[Served]:
        """Of users in the catalog."""
        rows = await self.session.execute(
            select(StoredReply.arm, StoredReply.user_id, func.count())
            .where(
                StoredReply.experiment_id == experiment_id,
                StoredReply.arm.is_not(None),
                StoredReply.user_id.is_not(None),
            )
            .group_by(StoredReply.arm, StoredReply.user_id)
        )
        return [Served(*row) for row in rows]  # type: ignore[arg-type]  # none is null

    async def answered(self, experiment_id: str, positives: PositiveEvents) -> list[Answered]:
        first = _first_answers(positives, StoredReply.experiment_id == experiment_id)
        ranks = (
            select(StoredReply.arm, StoredReply.user_id, self._rank().label("rank"))
            .join(first, first.c.recommendation_id == StoredReply.recommendation_id)
            .join(Event, Event.seq == first.c.seq)
            .where(StoredReply.arm.is_not(None))
            .subquery()
        )
        arm, user_id, rank = ranks.c
        rows = await self.session.execute(
            select(arm, user_id, rank, func.count()).group_by(arm, user_id, rank)
        )
        return [Answered(*row) for row in rows]

    async def first_answers(
        self, recommendation_ids: Collection[str], positives: PositiveEvents
    ) -> list[FirstAnswer]:
        first = _first_answers(positives, StoredReply.recommendation_id.in_(recommendation_ids))
        rows = await self.session.execute(
            select(
                StoredReply.recommendation_id,
                Event.seq,
                StoredReply.experiment_id,
                StoredReply.arm,
                self._rank(),
            )
            .join(first, first.c.recommendation_id == StoredReply.recommendation_id)
            .join(Event, Event.seq == first.c.seq)
        )
        return [FirstAnswer(*row) for row in rows]

    async def answers_of(
        self, user_ids: Collection[str], positives: PositiveEvents
    ) -> list[tuple[str, datetime, int | None]]:
        """Of lists of these users that were answered, newest first: whose, when it was made, and
        the rank of the answer; None: an item that is not in the list."""
        first = _first_answers(positives, StoredReply.user_id.in_(user_ids))
        rows = await self.session.execute(
            select(Event.user_id, StoredReply.made_at, self._rank())
            .join(first, first.c.recommendation_id == StoredReply.recommendation_id)
            .join(Event, Event.seq == first.c.seq)
            .order_by(StoredReply.made_at.desc(), StoredReply.recommendation_id)
        )
        return [(user_id, made_at, rank) for user_id, made_at, rank in rows]

    def _rank(self) -> ScalarSelect[Any]:
        """Of the event's item in the reply's list, from 1."""
        if self.dialect == "postgresql":
            shown = (
                func.jsonb_array_elements(StoredReply.items)
                .table_valued(column("item", JSONB), with_ordinality="place", name="shown")
                .render_derived()
            )
            place: ColumnElement[int] = shown.c.place
            item_id: ColumnElement[str] = shown.c.item["item_id"].astext
        else:
            shown = func.json_each(StoredReply.items).table_valued("key", "value", name="shown")
            place, item_id = shown.c.key + 1, func.json_extract(shown.c.value, "$.item_id")
        return (
            select(place)
            .where(item_id == Event.item_id)
            .limit(1)
            .correlate(StoredReply, Event)
            .scalar_subquery()
        )

    # --- what is forgotten ----------------------------------------------------------------------

    async def to_be_forgotten(self, moment: datetime) -> Sequence[StoredExperiment]:
        """Stopped before that moment, and not forgotten yet."""
        query = select(StoredExperiment).where(
            StoredExperiment.state == ExperimentState.STOPPED,
            StoredExperiment.stopped_at < moment,
            StoredExperiment.reports.is_(None),
        )
        return (await self.session.scalars(query)).all()

    async def forget_replies(self, experiment_id: str, reports: dict[str, Any]) -> None:
        """All that is left of them are the reports."""
        await self.session.execute(
            delete(StoredReply).where(StoredReply.experiment_id == experiment_id)
        )
        await self.session.execute(
            update(StoredExperiment)
            .where(StoredExperiment.experiment_id == experiment_id)
            .values(reports=reports)
        )


def _first_answers(positives: PositiveEvents, of: ColumnElement[bool]) -> Subquery:
    """The first positive event that answers each of these lists, as received: what was counted
    does not change when an older event comes late.

    Only the user who was served can answer: an event of somebody else who names the list, say
    because it was shared, is not the arm's doing."""
    return (
        select(Event.recommendation_id, func.min(Event.seq).label("seq"))
        .join(
            StoredReply,
            and_(
                StoredReply.recommendation_id == Event.recommendation_id,
                StoredReply.user_id == Event.user_id,
            ),
        )
        .where(of, positives.clause())
        .group_by(Event.recommendation_id)
        .subquery()
    )
