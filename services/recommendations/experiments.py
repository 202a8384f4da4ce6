"""Experiments: started and stopped by an operator, and known to every process that recommends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.positives import PositiveEvents
from services.errors import Conflict, InvalidRequest, NotFound, PublicError
from services.llm.ability import Ability
from services.llm.errors import ModelError
from services.llm.port import Capabilities, LabelSource, LanguageModel, Terms
from services.observability.logging import get_logger
from services.prompts import Mode
from services.recommendations.arms import NO_ARM, Arm, Assigned, Experiment
from services.recommendations.experiment_report import ArmReport, ExperimentReport, report_of
from services.recommendations.experiments_repository import ExperimentsRepository
from services.recommendations.models import StoredExperiment
from services.recommendations.wanted import Wanted
from services.storage.database import Database
from services.storage.unbroken import Unbroken

# How long another process goes on as before after a start or a stop.
REFRESH_SECONDS = 5.0
MODEL_SECONDS = 10.0
# Of an experiment whose lists are forgotten, reports are left at these.
KEPT_K = (1, 3, 5, 10, 20, 50, 100)

log = get_logger(__name__)


class Experiments:
    """One runs at a time: two would share their users, and both would set the same settings.

    Made inside the event loop that uses it; `aclose` ends what `follow` began.
    """

    def __init__(self, database: Database, positives: PositiveEvents, model: LanguageModel) -> None:
        self._database = database
        self._positives = positives
        self._model = model
        self._running: Experiment | None = None
        self._following: asyncio.Task[None] | None = None
        self._unbroken = Unbroken()

    # --- while recommending -------------------------------------------------------------------

    def assigned(self, wanted: Wanted) -> Assigned | None:
        """None: the list is served by the deployment's settings and counts for no arm. Nobody
        without an id can be told from others, and a mode that the request names is not the
        arm's: its lists would be the same in all arms and hide what differs."""
        running = self._running
        if running is None or wanted.user_id is None or wanted.mode is not None:
            return None
        return Assigned(running.experiment_id, running.arm_of(wanted.user_id))

    def follow(self) -> None:
        """From now on this process knows which experiment runs, without any request waiting."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="experiments")

    async def aclose(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await self._unbroken.aclose()

    async def refresh(self) -> None:
        """Where the database is down, what was known last stays in force."""
        try:
            async with self._database.reading() as session:
                running = await ExperimentsRepository(session).running()
            self._running = None if running is None else Experiment.of(running)
        except (PublicError, ValidationError) as error:  # or it is of a newer version than ours
            log.warning("experiments_not_refreshed", error=str(error))

    async def _follow(self) -> None:
        while True:
            await self._unbroken.run(self.refresh())
            await asyncio.sleep(REFRESH_SECONDS)

    # --- by an operator -----------------------------------------------------------------------

    async def start(self, experiment_id: str, arms: Sequence[Arm]) -> Experiment:
        """Again with the same arms, it changes nothing. Arms never change: some users would have
        been served by the old ones, and no report could tell."""
        if experiment_id == NO_ARM:
            raise InvalidRequest(f"`{NO_ARM}` stands for no experiment: choose another id")
        await self._expect_modes(arms)
        now = datetime.now(UTC)

        async def work(session: AsyncSession) -> Experiment:
            repository = ExperimentsRepository(session)
            stored = await repository.experiment(experiment_id)
            if stored is None:
                started = await repository.start(experiment_id, arms, now)
                stored = await repository.experiment(experiment_id)
                if stored is None:
                    assert not started
                    raise _another_runs(await repository.running())
            experiment = Experiment.of(stored)
            if experiment.arms != tuple(arms):
                raise Conflict(
                    f"the experiment {experiment_id} exists with other arms, which never change: "
                    "stop it, and start one of another id"
                )
            return experiment

        experiment = await self._database.write(work)
        await self.refresh()
        return experiment

    async def stop(self, experiment_id: str) -> Experiment:
        now = datetime.now(UTC)

        async def work(session: AsyncSession) -> Experiment:
            repository = ExperimentsRepository(session)
            await repository.stop(experiment_id, now)
            return _found(await repository.experiment(experiment_id), experiment_id)

        experiment = await self._database.write(work)
        await self.refresh()
        return experiment

    async def all(self) -> list[Experiment]:
        """Newest first."""
        async with self._database.reading() as session:
            return [Experiment.of(row) for row in await ExperimentsRepository(session).all()]

    async def report(self, experiment_id: str, *, k: int) -> ExperimentReport:
        async with self._database.reading() as session:
            repository = ExperimentsRepository(session)
            stored = await repository.experiment(experiment_id)
            experiment = _found(stored, experiment_id)
            reports = None if stored is None else stored.reports
            if reports is None:
                arms = await self._arm_reports(repository, experiment, [k])
            elif str(k) in reports:
                kept = reports[str(k)]
                arms = {k: tuple(ArmReport.model_validate(arm) for arm in kept)}
            else:
                raise InvalidRequest(
                    f"the lists of {experiment_id} are forgotten; what is left of them are reports "
                    f"at k = {', '.join(map(str, KEPT_K))}: ask for one of these"
                )
        return ExperimentReport(
            experiment_id=experiment.experiment_id,
            state=experiment.state,
            made_at=experiment.made_at,
            stopped_at=experiment.stopped_at,
            k=k,
            forgotten=reports is not None,
            arms=arms[k],
        )

    async def forget_before(self, moment: datetime) -> None:
        """The lists of experiments stopped before that moment go; reports stay in their place."""
        left: dict[str, dict[str, Any]] = {}
        async with self._database.reading() as session:
            repository = ExperimentsRepository(session)
            for stored in await repository.to_be_forgotten(moment):
                reports = await self._arm_reports(repository, Experiment.of(stored), KEPT_K)
                left[stored.experiment_id] = {
                    str(k): [arm.model_dump(mode="json") for arm in arms]
                    for k, arms in reports.items()
                }
        for experiment_id, kept in left.items():
            await self._database.write(partial(_forget, experiment_id=experiment_id, reports=kept))

    async def _arm_reports(
        self, repository: ExperimentsRepository, experiment: Experiment, ks: Sequence[int]
    ) -> dict[int, tuple[ArmReport, ...]]:
        served = await repository.served(experiment.experiment_id)
        answered = await repository.answered(experiment.experiment_id, self._positives)

        def made() -> dict[int, tuple[ArmReport, ...]]:
            return {k: report_of(experiment.arms, served, answered, k=k) for k in ks}

        # Of very many users it takes a while, and this loop may be a gateway's.
        return await asyncio.to_thread(made)

    async def _expect_modes(self, arms: Sequence[Arm]) -> None:
        modes = {arm.mode for arm in arms if arm.mode is not None}
        if not modes:
            return
        try:
            engine = await self._model.describe(Terms.within(MODEL_SECONDS))
        except ModelError as error:  # then the lists of such an arm say why they are degraded
            log.warning("modes_not_checked", error=str(error))
            return
        if lacking := sorted(mode for mode in modes if not _can(engine.capabilities, mode)):
            raise InvalidRequest(
                f"the model {engine.fingerprint.model} cannot rank by {', '.join(lacking)}: "
                "`lrgd doctor` shows what it can do"
            )


def _can(capabilities: Capabilities, mode: Mode) -> bool:
    match mode:
        case Mode.FIRST_TOKEN:
            return capabilities.labels is not LabelSource.NONE
        case Mode.LIKELIHOOD:
            return capabilities.has(Ability.TITLE_LIKELIHOOD)
        case Mode.GENERATE:
            return True


async def _forget(session: AsyncSession, experiment_id: str, reports: dict[str, Any]) -> None:
    await ExperimentsRepository(session).forget_replies(experiment_id, reports)


def _found(stored: StoredExperiment | None, experiment_id: str) -> Experiment:
    if stored is None:
        raise NotFound(
            f"there is no experiment {experiment_id}: `lrgd experiments list` shows which there are"
        )
    return Experiment.of(stored)


def _another_runs(running: StoredExperiment | None) -> Conflict:
    name = "another experiment" if running is None else f"the experiment {running.experiment_id}"
    return Conflict(f"{name} is running, and only one can: stop it first")
