"""All methods by name. One that is added here can be evaluated.

A method is made from the training part of the data, and then asked about one user at a time. It
is never told which candidate was chosen: no type that it is given holds that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lab.evaluation.questions import Training
from lab.evaluation.scorers import ByCounting, ByModel, CountingLater, Means, Scorer
from lab.evaluation.shown import Shown, WorkedExamples
from lab.learning.learning import Learning
from lab.tables.baselines.counting import Count, ease, itemknn
from lab.tables.baselines.settings import Trained
from lab.tables.baselines.trained import ByNetwork, content_key
from services.optimizer.plan import Plan
from services.prompts import Mode
from services.ranking import Method

STEP_SIZE = 0.3
OTHERS = 100.0  # as many held-out events as the gains of other users' texts count


class MethodName(StrEnum):
    ZERO_SHOT = "zero_shot"
    ZERO_SHOT_LONG = "zero_shot_long"
    POPULARITY = "popularity"
    COVISIT = "covisit"
    RETRIEVAL = "retrieval"
    EASE = "ease"
    ITEMKNN = "itemknn"
    BPRMF = "bprmf"
    GRU4REC = "gru4rec"
    SASREC = "sasrec"
    HGN = "hgn"
    SRGNN = "srgnn"
    FDSA = "fdsa"
    SASREC_FUSED = "sasrec_fused"
    LIKELIHOOD = "likelihood"
    LLM4RS = "llm4rs"
    LLMRANK = "llmrank"
    ICL_RECENT = "icl_recent"
    ICL_RECENT_PART = "icl_recent_part"
    ICL_RANDOM = "icl_random"
    ICL_NEAREST = "icl_nearest"
    LLMSREC_SYN = "llmsrec_syn"
    RE2LLM = "re2llm"
    MORE = "more"
    GENERATED = "generated"
    GENERATED_PART = "generated_part"
    BEST_OF_N = "best_of_n"
    LRGD = "lrgd"
    LRGD_FUSED = "lrgd_fused"
    PDO1 = "pdo1"
    PDO2 = "pdo2"
    REVEALS_VALIDATION = "reveals_validation"
    WHOLE_STEP = "whole_step"


@dataclass(frozen=True)
class Lessons:
    """How a method learns before it is asked: from so many rounds of so many paths. Not `selected`:
    the first text that was written is shown, whatever it is worth. `alone`: nothing goes from one
    text to another. `reveals_validation`: the generator sees the target that judges it.

    One held-out event of a user says next to nothing of what a text gains on their next one
    (`docs/baselines.md`): what texts gain on those of all users decides, and a text is shown alone,
    for one that won on the event brings its luck into any pair."""

    paths: int
    rounds: int
    selected: bool = True
    alone: bool = False
    reveals_validation: bool = False

    def learning(self, ranking: Method, seed: int = 0) -> Learning:
        return Learning(self.plan(ranking, seed), self.rounds, self.reveals_validation)

    def plan(self, ranking: Method, seed: int = 0) -> Plan:
        if not self.selected:
            # What is found of the first text decides nothing: it is the same at any step size.
            ranking = replace(ranking, step_size=1.0)
        return Plan.ranking_as(
            ranking, paths=self.paths, held_out=1, prior_events=OTHERS, heard_again=True,
            screened=False, perturbed=not self.alone, paired=False,
            remembered=not self.alone and self.rounds > 1, seed=seed,
        )  # fmt: skip


class Pool(StrEnum):
    """Of texts that a bandit picks from: see `lab.evaluation.picked`."""

    HINTS = "hints"
    PERSPECTIVES = "perspectives"


@dataclass(frozen=True)
class Recipe:
    """`asks` is how a method that asks a model has it rank; None for one that asks none. `kept_as`
    names what one that asks none is made of, where making it takes long: then its scores are kept.
    `trains` needs validation files; `fused`: lambda is fitted where the caller names none."""

    make: Callable[[Means], Scorer]
    asks: Callable[[Method], Method] | None = None
    learns: Lessons | None = None
    picks: Pool | None = None
    kept_as: Callable[[Means], str] | None = None
    trains: bool = False
    fused: bool = False

    @property
    def taught(self) -> bool:
        """By validation targets."""
        return self.learns is not None or self.picks is not None


def as_given(method: Method) -> Method:
    return method


def with_older_history(method: Method, demonstrations: int = 1) -> Method:
    """The tokens that demonstrations might take, spent on older history instead."""
    limits = method.form.limits
    longer = replace(limits, extra_history_tokens=demonstrations * limits.demonstration_tokens)
    return replace(method, form=replace(method.form, limits=longer))


def by_title(method: Method) -> Method:
    return method.in_mode(Mode.LIKELIHOOD)


def written(method: Method) -> Method:
    return method.in_mode(Mode.GENERATE)


def part_of_the_way(method: Method) -> Method:
    """Of the way that a demonstration leads: with a small model a whole step goes too far
    (`docs/baselines.md`)."""
    return replace(method, step_size=STEP_SIZE)


def bootstrapped(method: Method) -> Method:
    """Candidates in several orders, against the bias of position."""
    return replace(method, permutations=max(3, method.permutations))


def _shows(
    shown: Callable[[WorkedExamples], Shown], asks: Callable[[Method], Method] = as_given
) -> Recipe:
    return Recipe(lambda means: ByModel(means, shown(WorkedExamples(means.training))), asks)


def _counts(name: str, make: Callable[[Training], Count]) -> Recipe:
    return Recipe(
        lambda means: ByCounting(CountingLater(make, means.training)),
        kept_as=lambda means: f"{name}-{means.training.digest}",
    )


def _trains(name: Trained, *, fused: bool = False) -> Recipe:
    return Recipe(
        lambda means: ByCounting(ByNetwork(name, means.training, means.trained_on)),
        kept_as=lambda means: content_key(name, means.training, means.trained_on.valid),
        trains=True,
        fused=fused,
    )


METHODS: Mapping[MethodName, Recipe] = {
    MethodName.ZERO_SHOT: Recipe(ByModel, as_given),
    MethodName.ZERO_SHOT_LONG: Recipe(ByModel, with_older_history),
    MethodName.POPULARITY: Recipe(lambda means: ByCounting(means.counted.popularity)),
    MethodName.COVISIT: Recipe(lambda means: ByCounting(means.counted.covisit)),
    MethodName.RETRIEVAL: Recipe(lambda means: ByCounting(means.prior.scores)),
    MethodName.EASE: _counts("ease", ease),
    MethodName.ITEMKNN: _counts("itemknn", itemknn),
    **{MethodName(name.value): _trains(name) for name in Trained},
    MethodName.SASREC_FUSED: _trains(Trained.SASREC, fused=True),
    MethodName.LIKELIHOOD: Recipe(ByModel, by_title),
    MethodName.LLM4RS: Recipe(ByModel, written),
    MethodName.LLMRANK: _shows(lambda examples: examples.latest, bootstrapped),
    MethodName.ICL_RECENT: _shows(lambda examples: examples.recent),
    # At as many tokens as lrgd takes to rank.
    MethodName.ICL_RECENT_PART: _shows(lambda examples: examples.recent, part_of_the_way),
    MethodName.ICL_RANDOM: _shows(lambda examples: examples.random),
    MethodName.ICL_NEAREST: _shows(lambda examples: examples.nearest),
    MethodName.LLMSREC_SYN: _shows(lambda examples: examples.merged),
    MethodName.RE2LLM: Recipe(ByModel, as_given, picks=Pool.HINTS),
    MethodName.MORE: Recipe(ByModel, as_given, picks=Pool.PERSPECTIVES),
    MethodName.GENERATED: Recipe(ByModel, as_given, Lessons(1, 1, selected=False)),
    MethodName.GENERATED_PART: Recipe(ByModel, part_of_the_way, Lessons(1, 1, selected=False)),
    # As many demonstrations as lrgd writes, in as many rounds.
    MethodName.BEST_OF_N: Recipe(ByModel, part_of_the_way, Lessons(3, 2, alone=True)),
    MethodName.LRGD: Recipe(ByModel, part_of_the_way, Lessons(3, 2)),
    MethodName.LRGD_FUSED: Recipe(ByModel, part_of_the_way, Lessons(3, 2), fused=True),
    # As many demonstrations as lrgd writes, by fewer paths.
    MethodName.PDO1: Recipe(ByModel, part_of_the_way, Lessons(1, 6)),
    MethodName.PDO2: Recipe(ByModel, part_of_the_way, Lessons(2, 3)),
    MethodName.REVEALS_VALIDATION: Recipe(
        ByModel, part_of_the_way, Lessons(3, 2, reveals_validation=True)
    ),
    # As the paper has it: the demonstration's prompt alone.
    MethodName.WHOLE_STEP: Recipe(ByModel, as_given, Lessons(3, 2)),
}


def make_scorer(name: MethodName, means: Means) -> Scorer:
    recipe = METHODS[name]
    if recipe.asks is not None:
        means = replace(means, ranking=recipe.asks(means.ranking))
    return recipe.make(means)
