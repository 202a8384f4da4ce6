"""The paper's Figure 9: rounds with and without perturbation. After every round, what each user is
served is put to the test, and so is what was written, whatever was found of it.

The ledger goes on where it was broken off, and a round is put to the test before the next begins:
so another call with the same folder goes on, too, with more rounds if more are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import Watch
from lab.learning.filling import copy_whole
from lab.learning.learning import Learning
from lab.learning.world import World, Writer, opened_world
from lab.loop.arms import learning_arms
from lab.loop.names import ArmName
from lab.loop.population import CROWD, POSITIVES, read_tests, titles_of_shop, write_population
from lab.loop.testing import DRAWS, Tester, questions_about
from lab.tables.studies.forecast import of_rounds, pace
from lab.tables.studies.rounds.results import Put, Results, RoundTested
from lab.tables.studies.same_engine import expect_same_engine, plain
from services.llm.errors import ModelUnavailable
from services.llm.port import LanguageModel
from services.optimizer.learning_repository import LearningRepository
from services.optimizer.material import Materials, Question, RetrievedCandidates, TooFewPositives
from services.optimizer.models import PartState, RunUser
from services.optimizer.plan import Plan
from services.optimizer.under_way import ZERO_SHOT_PATH
from services.prompts import Demonstrated

ARMS = (ArmName.PDO3, ArmName.PDO3_NO_PERTURBATION)
ZERO_SHOT = "zero_shot"
# Others than `lrgd lab loop` looks at.
FIRST_USER = 200_000


@dataclass(frozen=True)
class Fig9:
    """`crowd` are users who are only learned from."""

    out: Path
    users: int = 24
    rounds: int = 14
    engine: EngineChoice = field(default_factory=EngineChoice)
    crowd: int = CROWD

    @property
    def folder(self) -> Path:
        return self.out / f"fig9-{plain(self.engine)}-{self.users}-{self.crowd}"

    @property
    def base(self) -> Path:
        return self.folder / "population.sqlite3"

    @property
    def tests(self) -> Path:
        return self.folder / "tests.jsonl"

    @property
    def results(self) -> Path:
        return self.folder / "tested.jsonl"

    def database(self, arm: ArmName) -> Path:
        return self.folder / f"{arm}.sqlite3"


def rounds_left(study: Fig9) -> int:
    """Of users, in both arms: what is still to be learned."""
    whole = len(ARMS) * study.users * study.rounds
    done = sum(
        row.arm in ARMS and 0 < row.round <= study.rounds
        for row in Results(study.results).rows.values()
    )
    return whole - done


def run_fig9(study: Fig9, watch: Watch) -> None:
    """Until each round of both arms has its results."""
    study.folder.mkdir(parents=True, exist_ok=True)
    if rounds_left(study):
        if not study.base.exists():
            write_population(study.base, study.tests, study.users, FIRST_USER, study.crowd)
        asyncio.run(_run(study, watch))


async def _run(study: Fig9, watch: Watch) -> None:
    tests = read_tests(study.tests)
    async with (
        contextlib.aclosing(make_model(study.engine)) as model,
        opened_world(study.base, POSITIVES) as world,
    ):
        await expect_same_engine(study.folder, model, Plan().method)
        questions = await questions_about(
            world.database, RetrievedCandidates(world.retrieval), tests, Plan(draws=DRAWS)
        )
        await _forecast(study, model, world, questions, watch)
        going = _Going(study, model, questions, Results(study.results), watch)
        await going.test_bare()
        for arm in ARMS:
            database = study.database(arm)
            copy_whole(study.base, database)
            async with opened_world(database, POSITIVES) as own:
                await going.run_arm(own, arm)


class _Going:
    def __init__(
        self,
        study: Fig9,
        model: LanguageModel,
        questions: Mapping[str, Sequence[Question]],
        results: Results,
        watch: Watch,
    ) -> None:
        self._study = study
        self._model = model
        self._questions = questions
        self._results = results
        self._watch = watch
        self._tester = Tester(model, Plan())

    async def test_bare(self) -> None:
        """Before the first round everybody is served zero-shot."""
        for user in self._questions:
            if not self._results.has(ZERO_SHOT, 0, [user]):
                put = await self._put(user, None)
                self._results.keep(RoundTested(ZERO_SHOT, 0, user, put))

    async def run_arm(self, world: World, arm: ArmName) -> None:
        """One round after the other: what a round serves is gone when the next one has run."""
        users, rounds = list(self._questions), self._study.rounds
        by = Writer(
            self._model,
            RetrievedCandidates(world.retrieval),
            titles_of_shop(),
            self._study.engine.calls_at_once,
        )
        for number in range(1, rounds + 1):
            if not self._results.has(arm, number, users):
                learning = learning_arms(Plan(), number)[arm]
                await world.learn(arm, users, learning, by, self._told_of(arm, learning))
                await _expect_no_open_part(world)
                for user in users:
                    if not self._results.has(arm, number, [user]):
                        self._results.keep(await self._tested(world, arm, number, user))
            self._watch.tell(arm, number * len(users), rounds * len(users))

    def _told_of(self, arm: ArmName, learning: Learning) -> Callable[[int, int], None]:
        """Rounds begun before are done: only what they add to the whole is told."""
        whole = self._study.rounds * len(self._questions)
        begun = (learning.rounds - 1) * len(self._questions)

        def tell(done: int, _: int) -> None:
            self._watch.tell(arm, max(done, begun), whole)

        return tell

    async def _tested(self, world: World, arm: ArmName, number: int, user: str) -> RoundTested:
        async with world.database.reading() as session:
            known = await LearningRepository(session).variants(user)
        texts = [
            one.demonstrated
            for one in known
            if one.row.round_number == number and one.row.path != ZERO_SHOT_PATH
        ]
        served = await self._put(user, await world.served_text(user))
        return RoundTested(
            arm, number, user, served, tuple([await self._put(user, text) for text in texts])
        )

    async def _put(self, user: str, shown: Demonstrated | None) -> Put:
        """What was put to the test before is not asked again."""
        text = _digest(shown)
        known = self._results.found(user, text)
        if known is not None:
            return known
        tested = await self._tester.test("", user, self._questions[user], shown)
        return Put(text, tuple(tested.ranks))


async def _forecast(
    study: Fig9,
    model: LanguageModel,
    world: World,
    questions: Mapping[str, Sequence[Question]],
    watch: Watch,
) -> None:
    plan = Plan()
    for user, asked in questions.items():
        try:
            material = await Materials(world.database, POSITIVES, world.retrieval).of(user, plan)
        except TooFewPositives:
            continue
        rankings, texts = of_rounds(plan, study.rounds)
        rankings += study.rounds * (1 + plan.paths) * DRAWS
        found = await pace(model, plan, asked[0], material.snapshot)
        users = len(ARMS) * study.users
        whole = found.told(users * rankings, users * texts)
        left = rounds_left(study) / (len(ARMS) * study.users * study.rounds)
        watch.say(f"{whole}; {left:.0%} of it is left")
        return


async def _expect_no_open_part(world: World) -> None:
    """A round that waits for a model that is down would be put to the test before it has run."""
    async with world.database.reading() as session:
        waiting = await session.scalar(
            select(func.count()).where(RunUser.state == PartState.OPEN.value)
        )
    if waiting:
        raise ModelUnavailable(
            f"{waiting} users wait for a round, for the model has not answered: when it does, the "
            "same command goes on"
        )


def _digest(shown: Demonstrated | None) -> str:
    if shown is None:
        return ZERO_SHOT
    content = json.dumps([shown.current, shown.perturbation]).encode()
    return hashlib.sha256(content).hexdigest()[:16]
