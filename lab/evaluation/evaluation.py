"""One method on one split: asked, judged, and put beside what needs no model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice, make_model
from lab.evaluation.answers import Answers, ask_all
from lab.evaluation.counted import Counted
from lab.evaluation.files import Data, existing, expect_earlier, read_data, read_split
from lab.evaluation.fitting import MEASURE, FittedWeight, fit_weight
from lab.evaluation.judging import by_user
from lab.evaluation.learned import Learned, Lesson, learn
from lab.evaluation.methods import METHODS, Lessons, MethodName, Pool, make_scorer
from lab.evaluation.picked import Picked, Picking
from lab.evaluation.prior import Prior
from lab.evaluation.questions import Split, training_part
from lab.evaluation.scorers import Means
from lab.evaluation.tables import Told, figures, tables
from lab.shop.catalog import build_catalog
from lab.tables.baselines.trained import Ground
from services.errors import ConfigurationError
from services.llm.port import EngineFingerprint, Terms
from services.ranking import EvaluationFingerprint, Method

LOAD_SECONDS = 120.0


@dataclass(frozen=True)
class Watch:
    """Who looks on: told what is done, how many of how many; and what people should know."""

    tell: Callable[[str, int, int], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Evaluation:
    """`weight` is lambda; None: fitted on the split in `valid`. `seed`: of what learns."""

    data: Path
    split: Path
    method: MethodName
    out: Path
    weight: float | None = 0.0
    valid: Path | None = None
    users: int | None = None
    engine: EngineChoice = field(default=EngineChoice())
    ranking: Method = field(default=Method())
    seconds: float = 60.0
    trained: Path = Path("build/tables/trained")
    seed: int = 0
    recheck: frozenset[str] | None = None  # these users alone, and whatever is kept of them anew

    @property
    def taught(self) -> bool:
        return METHODS[self.method].taught

    def __post_init__(self) -> None:
        if self.taught and self.valid is None:
            raise ConfigurationError(
                f"{self.method} learns on validation targets: name their file by --valid, for no "
                f"valid-*.jsonl of {self.data} is about the users of {self.split.name}"
            )
        if self.weight is None and self.valid is None:
            raise ConfigurationError(
                "lambda is fitted on validation targets: name their file by --valid, for no "
                f"valid-*.jsonl of {self.data} is about the users of {self.split.name}"
            )


def evaluate(evaluation: Evaluation, watch: Watch) -> tuple[dict[str, float], dict[str, Any]]:
    existing(evaluation.split)  # before the larger files: most often it is this name that is wrong
    outcome = asyncio.run(outcome_of(evaluation, read_material(evaluation), watch))
    return figures(outcome.told), outcome.detail | tables(outcome.told)


@dataclass(frozen=True)
class Material:
    """What the files of an evaluation hold. `valid` is None where its file is not needed."""

    titles: Mapping[str, str]
    split: Split
    valid: Split | None
    means: Means


@dataclass(frozen=True)
class Outcome:
    told: Told
    detail: dict[str, Any]


def read_material(evaluation: Evaluation, data: Data | None = None) -> Material:
    data = read_data(evaluation.data) if data is None else data
    whole = read_split(evaluation.split, data)
    training = training_part(data.titles, data.sequences, whole)
    sequences = list(training.sequences.values())
    means = Means(training, Counted(sequences), Prior(sequences))
    valid = None
    if evaluation.valid is not None and (evaluation.weight is None or evaluation.taught):
        valid = read_split(evaluation.valid, data)
        expect_earlier(valid, whole)
    return Material(data.titles, whole, valid, means)


async def outcome_of(evaluation: Evaluation, material: Material, watch: Watch) -> Outcome:
    recipe = METHODS[evaluation.method]
    split = material.split.first(evaluation.users)
    means = material.means
    if recipe.trains:
        means = replace(means, ground=_ground(evaluation, watch))
    if recipe.asks is not None and evaluation.engine.is_lrgd_mini:
        _say_if_unknown(material.titles, watch)
    valid = None
    if material.valid is not None:
        valid = material.valid.of({question.user_id for question in split.questions})
    async with _ready(evaluation, means) as ready:
        learned = ready
        if evaluation.taught and valid is not None:
            learned = await ready.taught_by(valid, split, watch)
        if evaluation.recheck is not None:
            split = split.of(set(evaluation.recheck))
        answers = await learned.about(split, watch, anew=evaluation.recheck is not None)
        fitted = None
        if evaluation.weight is None and valid is not None:
            # Without what was learned: that was chosen for these very targets.
            answered = await ready.about(valid, watch)
            fitted = fit_weight(valid, answered, by_user(valid, means.prior.scores))
            watch.say(f"lambda = {fitted.weight:g}, fitted on {evaluation.valid}")
    weight = evaluation.weight if fitted is None else fitted.weight
    assert weight is not None
    detail = {
        "split": split.name,
        "split_digest": split.digest,
        "method": evaluation.method.value,
        "engine": None if ready.engine is None else ready.engine.model,
        "engine_fingerprint": None if ready.engine is None else ready.engine.digest,
        "evaluation_fingerprint": None if ready.fingerprint is None else ready.fingerprint.digest,
        "fitted_lambda": None if fitted is None else _as_detail(fitted, evaluation),
    }
    return Outcome(Told(split, answers, means, evaluation.method, weight), detail)


def _ground(evaluation: Evaluation, watch: Watch) -> Ground:
    """Training is stopped by all validation files of the folder, whichever file is asked about: so
    that it is trained once."""
    data = read_data(evaluation.data)
    files = sorted(evaluation.data.glob("valid-*.jsonl"))
    if not files:
        raise ConfigurationError(
            f"{evaluation.method} is trained, and stopped by validation files: there is no "
            f"valid-*.jsonl in {evaluation.data}"
        )
    valid = tuple(read_split(file, data) for file in files)
    return Ground(valid, evaluation.trained, watch.tell)


def _say_if_unknown(titles: Mapping[str, str], watch: Watch) -> None:
    known = {item.title for item in build_catalog().items}
    if unknown := sum(title not in known for title in titles.values()):
        watch.say(
            f"lrgd-mini knows the sample shop's words alone, and {unknown:,} of {len(titles):,} "
            "titles are none of it: its figures here say nothing of the method"
        )


# --- asking ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ready:
    """A method that is ready to be asked. Answers are kept only of those that ask a model."""

    evaluation: Evaluation
    means: Means
    fingerprint: EvaluationFingerprint | None
    engine: EngineFingerprint | None
    taught: str | None = None  # by which lessons

    async def taught_by(self, valid: Split, split: Split, watch: Watch) -> _Ready:
        """The same, when it has learned."""
        assert self.fingerprint is not None, "only a method that asks a model learns"
        folder = self.evaluation.out / split.digest
        folder.mkdir(parents=True, exist_ok=True)
        recipe = METHODS[self.evaluation.method]
        texts: Learned | Picked
        if recipe.learns is not None:
            texts = await self._learned(recipe.learns, folder, valid, split, watch)
        else:
            assert recipe.picks is not None, "what is taught learns or picks"
            texts = await self._picked(recipe.picks, folder, valid, split, watch)
        return replace(self, means=replace(self.means, texts=texts), taught=texts.digest)

    async def _learned(
        self, lessons: Lessons, folder: Path, valid: Split, split: Split, watch: Watch
    ) -> Learned:
        asks = METHODS[self.evaluation.method].asks
        assert asks is not None, "what learns asks a model"
        assert self.engine is not None
        learning = lessons.learning(asks(self.means.ranking), self.evaluation.seed)
        return await learn(
            folder,
            Lesson(self.means.training, split, valid, learning),
            self.means.asked_model,
            selected=lessons.selected,
            fingerprint=EvaluationFingerprint.of(self.engine, learning.plan.method).digest,
            tell=partial(watch.tell, "rounds"),
        )

    async def _picked(
        self, pool: Pool, folder: Path, valid: Split, split: Split, watch: Watch
    ) -> Picked:
        assert self.fingerprint is not None
        at_once, seed = self.evaluation.engine.calls_at_once, self.evaluation.seed
        name = self.fingerprint.digest
        picking = Picking(self.means, split.questions, valid, folder, name, at_once, seed)
        return await picking.picked(pool, watch.tell)

    @property
    def name(self) -> str:
        """Without its lessons, a method that learns is zero-shot."""
        if self.taught is not None:
            return f"{self.evaluation.method}-{self.taught}"
        return MethodName.ZERO_SHOT if self.evaluation.taught else self.evaluation.method

    async def about(self, split: Split, watch: Watch, *, anew: bool = False) -> Answers:
        kept_as, at_once = METHODS[self.evaluation.method].kept_as, 1
        name = None if kept_as is None else kept_as(self.means)
        if self.fingerprint is not None:
            name = f"{self.name}-{self.fingerprint.digest}"
            at_once = self.evaluation.engine.calls_at_once
        kept = None
        if name is not None and not anew:
            kept = self.evaluation.out / split.digest / f"{name}.jsonl"
        scorer = make_scorer(self.evaluation.method, self.means)

        def told(done: int) -> None:
            watch.tell(split.name, done, len(split.questions))

        return await ask_all(split, scorer, kept, at_once, told)


@contextlib.asynccontextmanager
async def _ready(evaluation: Evaluation, means: Means) -> AsyncIterator[_Ready]:
    asks = METHODS[evaluation.method].asks
    if asks is None:
        yield _Ready(evaluation, means, None, None)
        return
    async with contextlib.aclosing(make_model(evaluation.engine)) as model:
        engine = (await model.describe(Terms.within(LOAD_SECONDS))).fingerprint
        fingerprint = EvaluationFingerprint.of(engine, asks(evaluation.ranking))
        asking = replace(means, model=model, ranking=evaluation.ranking, seconds=evaluation.seconds)
        yield _Ready(evaluation, asking, fingerprint, engine)


def _as_detail(fitted: FittedWeight, evaluation: Evaluation) -> dict[str, Any]:
    assert evaluation.valid is not None
    return {"lambda": fitted.weight, "on": evaluation.valid.name, MEASURE: fitted.tried}
