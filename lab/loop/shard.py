"""One process' share of the users: each arm learns on a database of its own, then is tested."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from lab.engines import make_model
from lab.learning.filling import copy_whole
from lab.learning.learning import Learning
from lab.learning.world import World, Writer, opened_world
from lab.lines import keep_line
from lab.loop.arms import learning_arms
from lab.loop.loop import Loop
from lab.loop.names import ArmName, CandidatesFrom
from lab.loop.population import POSITIVES, read_tests, titles_of_shop
from lab.loop.testing import DRAWS, Tested, Tester, questions_about, read_tested
from lab.loop.uniform import UniformCandidates
from services.llm.port import LanguageModel
from services.optimizer.learning_repository import LearningRepository
from services.optimizer.material import Candidates, Question, RetrievedCandidates
from services.optimizer.models import Evaluation
from services.optimizer.plan import Plan
from services.optimizer.under_way import ZERO_SHOT_PATH
from services.storage.database import Database


def work_on_shard(loop: Loop, shard: int) -> None:
    asyncio.run(_work_on(loop, shard))


async def _work_on(loop: Loop, shard: int) -> None:
    tests = read_tests(loop.tests)[shard :: loop.processes]
    async with (
        contextlib.aclosing(make_model(loop.engine)) as model,
        opened_world(loop.base, POSITIVES) as world,
    ):
        candidates = _candidates(world, loop.candidates)
        questions = await questions_about(world.database, candidates, tests, Plan(draws=DRAWS))
        for seed in range(loop.seeds):
            results = _Results(loop.results(seed, shard), loop.progress(shard))
            share = _Share(loop, model, questions, results)
            await share.test_bare()
            for arm, learning in learning_arms(loop.plan(seed), loop.rounds).items():
                if arm not in loop.arms:
                    continue
                database = loop.database(arm, seed, shard)
                copy_whole(loop.base, database)
                async with opened_world(database, POSITIVES) as own:
                    await share.learn(own, arm, learning)
                    await share.test(own, arm)


def _candidates(world: World, wanted: CandidatesFrom) -> Candidates:
    if wanted is CandidatesFrom.RETRIEVAL:
        return RetrievedCandidates(world.retrieval)
    return UniformCandidates(world.database)


class _Results:
    """Of a shard, a line each; and how far it has got."""

    def __init__(self, file: Path, progress: Path) -> None:
        self._file = file
        self._progress = progress
        self._told: dict[str, tuple[int, int]] = {}
        self._known = set(read_tested([file]))

    def has(self, arm: ArmName, user: str) -> bool:
        return (arm.value, user) in self._known

    def keep(self, tested: Tested) -> None:
        keep_line(self._file, asdict(tested))
        self._known.add((tested.arm, tested.user))

    def tell(self, arm: ArmName, done: int, of: int) -> None:
        self._told[arm] = (done, of)
        self._progress.write_text(json.dumps(self._told))


class _Share:
    def __init__(
        self,
        loop: Loop,
        model: LanguageModel,
        questions: Mapping[str, Sequence[Question]],
        results: _Results,
    ) -> None:
        self._loop = loop
        self._model = model
        self._questions = questions
        self._results = results
        self._tester = Tester(model, Plan())

    async def test_bare(self) -> None:
        """What needs no learning."""
        tester = self._tester
        for arm, test in (
            (ArmName.ZERO_SHOT, tester.zero_shot),
            (ArmName.ZERO_SHOT_LONG, tester.zero_shot_long),
            (ArmName.ZERO_SHOT_LONGER, tester.zero_shot_longer),
        ):
            if arm not in self._loop.arms:
                continue
            for number, (user, asked) in enumerate(self._questions.items(), start=1):
                if not self._results.has(arm, user):
                    self._results.keep(await test(arm, user, asked))
                self._results.tell(arm, number, len(self._questions))

    async def learn(self, world: World, arm: ArmName, learning: Learning) -> None:
        by = Writer(self._model, _candidates(world, self._loop.candidates), titles_of_shop())
        await world.learn(
            arm, list(self._questions), learning, by, partial(self._results.tell, arm)
        )

    async def test(self, world: World, arm: ArmName) -> None:
        for user, asked in self._questions.items():
            if not self._results.has(arm, user):
                texts = await world.served_text(user)
                tested = await self._tester.test(arm, user, asked, texts)
                if arm is ArmName.PDO3:
                    tested.variants = await self._all_variants(world.database, user)
                self._results.keep(tested)
            if arm is ArmName.PDO3:
                await self._test_unselected(world, user, asked)

    async def _test_unselected(self, world: World, user: str, asked: Sequence[Question]) -> None:
        for arm, first in (
            (ArmName.GENERATED, world.first_text),
            (ArmName.GENERATED_PAIR, world.first_pair),
        ):
            if not self._results.has(arm, user):
                self._results.keep(await self._tester.test(arm, user, asked, await first(user)))

    async def _all_variants(self, database: Database, user: str) -> list[tuple[float, float]]:
        """Of each variant that was judged on every draw: the mean log-score on the held-out events,
        and on the test."""
        async with database.reading() as session:
            known = await LearningRepository(session).variants(user)
            judged = await session.execute(
                select(Evaluation.variant_id, func.count(), func.avg(Evaluation.log_score))
                .where(Evaluation.variant_id.in_([one.variant_id for one in known]))
                .group_by(Evaluation.variant_id)
            )
        found = {variant: (count, float(mean)) for variant, count, mean in judged}
        whole = max((count for count, _ in found.values()), default=0)
        pairs = []
        for one in known:
            count, mean = found.get(one.variant_id, (0, 0.0))
            if one.row.path != ZERO_SHOT_PATH and count == whole:
                tested = await self._tester.test("", user, self._questions[user], one.demonstrated)
                pairs.append((mean, sum(tested.log_scores) / len(tested.log_scores)))
        return pairs
