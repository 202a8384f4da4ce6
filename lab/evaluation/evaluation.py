"""One method on one split: asked, judged, and put beside what needs no model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice, make_model
from lab.evaluation.answers import Answers, ask_all
from lab.evaluation.counted import Counted
from lab.evaluation.files import existing, read_data, read_split
from lab.evaluation.fitting import MEASURE, FittedWeight, fit_weight
from lab.evaluation.judging import by_user
from lab.evaluation.learned import Lesson, learn
from lab.evaluation.methods import METHODS, Lessons, Means, MethodName, make_scorer
from lab.evaluation.prior import Prior
from lab.evaluation.questions import Split, training_part
from lab.evaluation.tables import Told, figures, tables
from lab.shop.catalog import build_catalog
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
    """`weight` is lambda; None: fitted on the split in `valid`."""

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

    @property
    def lessons(self) -> Lessons | None:
        return METHODS[self.method].learns

    def __post_init__(self) -> None:
        if self.lessons is not None and self.valid is None:
            raise ConfigurationError(
                f"{self.method} learns on validation targets: name their file by --valid, for "
                f"{self.split.name} does not begin with test-"
            )
        if self.weight is None and self.valid is None:
            raise ConfigurationError(
                "lambda is fitted on validation targets: name their file by --valid, for "
                f"{self.split.name} does not begin with test-"
            )


def evaluate(evaluation: Evaluation, watch: Watch) -> tuple[dict[str, float], dict[str, Any]]:
    return asyncio.run(_evaluate(evaluation, watch))


async def _evaluate(
    evaluation: Evaluation, watch: Watch
) -> tuple[dict[str, float], dict[str, Any]]:
    existing(evaluation.split)  # before the larger files: most often it is this name that is wrong
    data = read_data(evaluation.data)
    whole = read_split(evaluation.split, data)
    split = whole.first(evaluation.users)
    training = training_part(data.titles, data.sequences, whole)
    sequences = training.sequences.values()
    means = Means(training, Counted(sequences), Prior(sequences))
    if METHODS[evaluation.method].asks is not None and evaluation.engine.is_lrgd_mini:
        _say_if_unknown(data.titles, watch)
    valid = None
    if evaluation.valid is not None and (evaluation.weight is None or evaluation.lessons):
        valid = read_split(evaluation.valid, data)
        valid = valid.of({question.user_id for question in split.questions})
    async with _ready(evaluation, means) as ready:
        learned = ready
        if evaluation.lessons is not None and valid is not None:
            learned = await ready.learned(evaluation.lessons, split, valid, watch)
        answers = await learned.about(split, watch)
        fitted = None
        if evaluation.weight is None and valid is not None:
            # Without what was learned: that was chosen for these very targets.
            answered = await ready.about(valid, watch)
            fitted = fit_weight(valid, answered, by_user(valid, means.prior.scores))
            watch.say(f"lambda = {fitted.weight:g}, fitted on {evaluation.valid}")
    weight = evaluation.weight if fitted is None else fitted.weight
    assert weight is not None
    told = Told(split, answers, means, evaluation.method, weight)
    detail = {
        "split": split.name,
        "split_digest": split.digest,
        "method": evaluation.method.value,
        "engine": None if ready.engine is None else ready.engine.model,
        "engine_fingerprint": None if ready.engine is None else ready.engine.digest,
        "evaluation_fingerprint": None if ready.fingerprint is None else ready.fingerprint.digest,
        "fitted_lambda": None if fitted is None else _as_detail(fitted, evaluation),
    }
    return figures(told), detail | tables(told)


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

    async def learned(self, lessons: Lessons, split: Split, valid: Split, watch: Watch) -> _Ready:
        """The same, when it has learned."""
        assert self.fingerprint is not None, "only a method that asks a model learns"

        def told(done: int, of: int) -> None:
            watch.tell("rounds", done, of)

        folder = self.evaluation.out / split.digest
        folder.mkdir(parents=True, exist_ok=True)
        texts = await learn(
            folder,
            Lesson(self.means.training, split, valid, lessons.learning(self.means.ranking)),
            self.means.asked_model,
            selected=lessons.selected,
            fingerprint=self.fingerprint.digest,
            tell=told,
        )
        return replace(self, means=replace(self.means, texts=texts), taught=texts.digest)

    @property
    def name(self) -> str:
        """Without its lessons, a method that learns is zero-shot."""
        if self.taught is not None:
            return f"{self.evaluation.method}-{self.taught}"
        return MethodName.ZERO_SHOT if self.evaluation.lessons else self.evaluation.method

    async def about(self, split: Split, watch: Watch) -> Answers:
        kept, at_once = None, 1
        if self.fingerprint is not None:
            name = f"{self.name}-{self.fingerprint.digest}.jsonl"
            kept = self.evaluation.out / split.digest / name
            at_once = self.evaluation.engine.calls_at_once
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
