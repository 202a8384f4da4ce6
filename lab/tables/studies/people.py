"""Whom a study asks about: users of the generated shop, or those of an evaluation folder, on a
database to learn on. The test target is not in it: it stands in `tests` alone, and is read to
judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.evaluation.files import beside, read_data, read_split
from lab.evaluation.learned import TAKEN, FileCandidates, Lesson, learn
from lab.evaluation.questions import Split, training_part
from lab.learning.filling import copy_whole
from lab.learning.learning import Learning
from lab.learning.world import World, Writer, opened_world
from lab.loop.population import POSITIVES, read_tests, titles_of_shop, write_population
from lab.loop.testing import questions_about
from lab.tables.studies.forecast import terms
from services.demonstrations.snapshot import Snapshot
from services.errors import ConfigurationError
from services.llm.port import LanguageModel
from services.optimizer.learning_repository import KnownVariant, LearningRepository
from services.optimizer.material import Candidates, Materials, Question, RetrievedCandidates
from services.optimizer.plan import Plan
from services.optimizer.under_way import ZERO_SHOT_PATH
from services.prompts.titles import fold
from services.ranking import Candidate, EvaluationFingerprint, RankingRequest

TEST_DRAWS = 2  # of the test's candidates, on the shop
# Others than other experiments look at.
FIRST_USER = 100_000


@dataclass(frozen=True)
class Person:
    """`held_out` by event, the newest first; the snapshot ends before the oldest of them."""

    user_id: str
    snapshot: Snapshot
    held_out: tuple[tuple[Question, ...], ...]
    test: tuple[Question, ...]


@dataclass(frozen=True)
class People:
    world: World
    model: LanguageModel
    plan: Plan
    candidates: Candidates
    is_item: Callable[[str], bool]
    tests: Mapping[str, tuple[Question, ...]]
    at_once: int = 1  # users whose rounds are under way

    async def person(self, user: str) -> Person:
        world = self.world
        materials = Materials(world.database, world.positives, world.retrieval, self.candidates)
        material = await materials.of(user, self.plan)
        events: dict[str, list[Question]] = {one.event_id: [] for one in material.held_out}
        for question in material.questions:
            events[question.event_id].append(question)
        return Person(user, material.snapshot, tuple(map(tuple, events.values())), self.tests[user])

    async def learn(self, rounds: int, tell: Callable[[int, int], None]) -> None:
        """What was done before is found again."""
        by = Writer(self.model, self.candidates, self.is_item, self.at_once)
        await self.world.learn("study", list(self.tests), Learning(self.plan, rounds), by, tell)

    async def written_by_rounds(self, user: str, rounds: int) -> list[KnownVariant]:
        """Accepted or not."""
        async with self.world.database.reading() as session:
            known = await LearningRepository(session).variants(user)
        return [
            one
            for one in known
            if one.row.path != ZERO_SHOT_PATH and one.row.round_number <= rounds
        ]


async def digest_of(model: LanguageModel, plan: Plan, *more: object) -> str:
    """Of all that an answer can depend on: files are named by it."""
    engine = (await model.describe(terms())).fingerprint
    evaluated = EvaluationFingerprint.of(engine, plan.method).digest
    content = json.dumps([evaluated, plan.as_row(), *more])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@contextlib.asynccontextmanager
async def people_of_shop(
    work: Path, model: LanguageModel, plan: Plan, *, users: int, first: int, at_once: int
) -> AsyncIterator[People]:
    """Evaluation users, none of whom lrgd-mini was trained on."""
    folder = work / f"shop-{users}-from-{first}"
    base, tests = folder / "population.sqlite3", folder / "tests.jsonl"
    file = folder / f"learned-{await digest_of(model, plan)}.sqlite3"
    await asyncio.to_thread(_prepare, base, tests, file, users, first)
    async with opened_world(file, POSITIVES) as world:
        candidates = RetrievedCandidates(world.retrieval)
        asked = plan.model_copy(update={"draws": TEST_DRAWS})
        questions = await questions_about(world.database, candidates, read_tests(tests), asked)
        yield People(world, model, plan, candidates, titles_of_shop(), questions, at_once)


def _prepare(base: Path, tests: Path, file: Path, users: int, first: int) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    if not base.exists():
        write_population(base, tests, users, FIRST_USER + first)
    copy_whole(base, file)


@contextlib.asynccontextmanager
async def people_of_files(
    work: Path, model: LanguageModel, plan: Plan, *, data: Path, users: int, at_once: int
) -> AsyncIterator[People]:
    """Of the first test file of the folder that has a validation file beside it: the validation
    target is held out, the test target asked about, each among the candidates of its file."""
    plan = plan.model_copy(update={"held_out": 1, "draws": 1})
    read = read_data(data)
    test = read_split(_test_file(data), read).first(users)
    file = beside(data / test.name)
    assert file is not None, "it was looked for beside its validation file"
    valid = read_split(file, read).of({question.user_id for question in test.questions})
    training = training_part(read.titles, read.sequences, test)
    folder = work / f"{data.name}-{test.digest}-{users}"
    folder.mkdir(parents=True, exist_ok=True)
    lesson = Lesson(training, test, valid, Learning(plan, 0))
    name = await digest_of(model, plan)
    nothing = await learn(
        folder, lesson, model, selected=True, fingerprint=name, tell=lambda _, __: None
    )
    titles = {fold(title) for title in read.titles.values() if title}
    async with opened_world(folder / f"learned-{nothing.digest}.sqlite3", TAKEN) as world:
        yield People(
            world, model, plan, FileCandidates(valid), titles.__contains__,
            _questions(test, read.titles), at_once,
        )  # fmt: skip


def _test_file(data: Path) -> Path:
    for file in sorted(data.glob("test-*.jsonl")):
        valid = beside(file)
        if valid is not None and valid.is_file():
            return file
    raise ConfigurationError(
        f"there is no test-*.jsonl with a valid-*.jsonl beside it in {data}: "
        "`lrgd lab data split` makes them"
    )


def _questions(test: Split, titles: Mapping[str, str]) -> dict[str, tuple[Question, ...]]:
    return {
        one.user_id: (
            Question(
                "test", 0, test.targets[one.user_id],
                RankingRequest(
                    tuple(titles[item] or None for item in one.history),
                    tuple(Candidate(item, titles[item] or None) for item in one.candidates),
                ),
            ),
        )
        for one in test.questions
    }  # fmt: skip
