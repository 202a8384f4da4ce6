"""How lists are ranked where the request does not say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.demonstrations.variant import ServedVariant, served_of
from services.llm.port import EngineFingerprint, LabelSource, LanguageModel, Terms
from services.prompts import DEFAULT_REGULARIZATION, Mode, PromptFormat, Regularization
from services.ranking import EvaluationFingerprint, Method

# The X_T_reg in force. It answers at once: people wait.
Regularizing = Callable[[], Awaitable[Regularization]]


async def default_regularization() -> Regularization:
    return DEFAULT_REGULARIZATION


class ChosenBy(StrEnum):
    """Who wanted the mode of a ranking."""

    CALLER = "caller"
    ARM = "arm"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    mode: Mode | None = None  # None: the best the engine can do
    permutations: int = 1
    calibrated: bool = False
    step_size: float = 1.0
    prior_weight: float = 0.0
    candidates: int = 50
    deadline_seconds: float = 1.0
    stored_seconds: float = 300.0
    at_once: int = 64
    demonstrations: bool = True
    paths: int | None = None  # None: whatever is active, of however many paths

    def method(
        self,
        mode: Mode | None,
        labels: LabelSource,
        regularization: Regularization = DEFAULT_REGULARIZATION,
    ) -> Method:
        """For an engine that tells labels apart by `labels`; `mode` is what the request says."""
        best = Mode.GENERATE if labels is LabelSource.NONE else Mode.FIRST_TOKEN
        form = replace(PromptFormat(), regularization=regularization)
        method = Method(
            form,
            permutations=self.permutations,
            calibrated=self.calibrated,
            step_size=self.step_size,
        )
        return method.in_mode(mode or self.mode or best)

    def chosen_by(self, mode: Mode | None, settings: RankingPolicy) -> ChosenBy:
        """`mode` is what the request says; `settings` are what there is without an experiment."""
        if mode is not None:
            return ChosenBy.CALLER
        return ChosenBy.SETTINGS if self.mode == settings.mode else ChosenBy.ARM

    def variant(self, variants: Sequence[ServedVariant]) -> ServedVariant | None:
        """Zero-shot where nothing is switched on, however many paths have found something: the user
        was rolled back, or zero-shot is the best there is."""
        active = served_of(variants)
        if active is None or not self.demonstrations:
            return None
        return active if self.paths is None else served_of(variants, self.paths)


@dataclass(frozen=True, slots=True)
class MethodInForce:
    """How lists are made now, and by which model."""

    engine: EngineFingerprint
    method: Method

    @property
    def fingerprint(self) -> EvaluationFingerprint:
        """A demonstration that was judged under another one is stale."""
        return EvaluationFingerprint.of(self.engine, self.method)


async def method_in_force(
    model: LanguageModel,
    policy: RankingPolicy,
    regularization: Regularizing,
    terms: Terms,
    mode: Mode | None = None,
) -> MethodInForce:
    """`mode` is what the request says."""
    engine = await model.describe(terms)
    method = policy.method(mode, engine.capabilities.labels, await regularization())
    return MethodInForce(engine.fingerprint, method)
