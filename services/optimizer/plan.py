"""How a run learns: everything that the paper varies, as one value that is stored with the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.demonstrations.generation import Part, View, ViewKind
from services.demonstrations.generator import Writing
from services.demonstrations.likeness import SimilarityBy
from services.optimizer.rules import BestBy, Collapse, CollapseRule, Expected
from services.prompts import (
    DEFAULT_REGULARIZATION,
    Lead,
    Mode,
    PromptFormat,
    Regularization,
    TemplateName,
)
from services.ranking import Method

# How paths see the user differently; more paths than views begin again, with other seeds.
VIEWS = (
    View(ViewKind.TITLES, 60),
    View(ViewKind.ATTRIBUTES, 60),
    View(ViewKind.NEIGHBORS, 60),
    View(ViewKind.TITLES, 30),
    View(ViewKind.NEIGHBORS, 30),
)


AS_LISTS = "Left out of a request: as the settings of lists say."


class Plan(BaseModel):
    """Settings of a run; `lrgd runs start --help` and `POST /admin/runs` show them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: int = Field(3, ge=1, le=64, description="m: lines of demonstrations per user.")
    held_out: int = Field(3, ge=1, le=10, description="w: newest positives that judge, at most.")
    draws: int = Field(2, ge=1, le=16, description="K: candidate sets per held-out event.")
    candidates: int = Field(
        50, ge=2, le=128, description="Candidates in a set, the truth included."
    )
    z: float = Field(0.5, ge=0, description="Gains count above z standard errors.")
    prior_events: float = Field(
        8.0,
        ge=0,
        description="What demonstrations of earlier rounds have gained counts as much as so many "
        "held-out events of the user.",
    )
    heard_again: bool = Field(
        False,
        description="A text that was judged and not accepted takes its path's free place, once it "
        "is believed to gain.",
    )
    expected: Expected | None = Field(
        None,
        description="What demonstrations gain, given; left out, it is read from the newest rounds.",
    )
    best_by: BestBy = Field(
        BestBy.LOG_SCORE, description="What is served is the best by this: effect_d | log_score."
    )
    similarity_by: SimilarityBy = Field(
        SimilarityBy.NGRAMS, description="What texts are compared by: ngrams | embeddings."
    )
    similarity: float = Field(
        0.91,
        ge=0,
        le=1,
        description="τ: texts this alike have not changed. The default is for ngrams, the shipped "
        "model and the default temperature.",
    )
    improvement: float = Field(0.0, description="ε: an improvement that is none.")
    window: int = Field(1, ge=1, le=20, description="s: rounds over which a collapse shows.")
    collapse_rule: CollapseRule = Field(CollapseRule.ANY, description="Alike or stalled; or both.")
    perturbed: bool = Field(True, description="Collapsed paths borrow from others.")
    paired: bool = Field(
        True, description="A text is shown beside the best one of another path, once there is one."
    )
    regularized: bool = Field(True, description="X_T_reg is in the prompt.")
    temperature: float = Field(0.3, ge=0, le=2, description="Of the generator.")
    perturbed_temperature: float = Field(
        0.6, ge=0, le=2, description="The same, where a path is perturbed."
    )
    attempts: int = Field(3, ge=1, le=10, description="Tries at a demonstration fit for use.")
    views: bool = Field(True, description="Paths see the user differently.")
    remembered: bool = Field(True, description="The generator is shown effective demonstrations.")
    screened: bool = Field(True, description="What is behind on the first draw gets no others.")
    effective_rank: int = Field(3, ge=1, description="Effective: at least this good a rank.")
    memory: int = Field(10, ge=1, le=100, description="Effective demonstrations kept of a user.")
    template: TemplateName = TemplateName.PREFIX_CACHED
    lead: Lead = Lead.CUE
    mode: Mode = Field(Mode.FIRST_TOKEN, description=AS_LISTS)
    permutations: int = Field(1, ge=1, le=16, description=AS_LISTS)
    calibrated: bool = Field(False, description=AS_LISTS)
    step_size: float = Field(
        1.0,
        gt=0,
        le=1,
        description="η: how much of a demonstration's way is gone; below 1 the prompt without it "
        f"is asked as well. {AS_LISTS}",
    )
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.calibrated and self.mode is not Mode.FIRST_TOKEN:
            raise ValueError(
                "only the mode first_token can be calibrated: leave `calibrated` or `mode` out"
            )
        return self

    @model_validator(mode="after")
    def _tau_is_of_its_measure(self) -> Self:
        by_meaning = self.similarity_by is SimilarityBy.EMBEDDINGS
        if by_meaning and "similarity" not in self.model_fields_set:
            raise ValueError(
                "similarity_by embeddings needs a `similarity` of its own: "
                "`lrgd lab calibrate-similarity --backend embeddings` finds it"
            )
        return self

    @property
    def method(self) -> Method:
        return self.method_under(DEFAULT_REGULARIZATION)

    @classmethod
    def ranking_as(cls, method: Method, **more: Any) -> Self:
        """That judges as this method ranks; `more` are its other settings."""
        form = method.form
        return cls(
            template=form.template,
            lead=form.lead,
            mode=form.mode,
            permutations=method.permutations,
            calibrated=method.calibrated,
            step_size=method.step_size,
            regularized=form.regularization is not None,
            **more,
        )

    def method_under(self, regularization: Regularization) -> Method:
        """`regularization` is the one in force."""
        text = regularization if self.regularized else None
        form = PromptFormat(self.template, self.mode, text, self.lead)
        return Method(
            form,
            permutations=self.permutations,
            calibrated=self.calibrated,
            step_size=self.step_size,
        )

    @property
    def writing(self) -> Writing:
        return Writing(temperature=self.temperature, attempts=self.attempts)

    @property
    def collapse(self) -> Collapse:
        return Collapse(self.similarity, self.improvement, self.window, self.collapse_rule)

    def view(self, path: int) -> View:
        """Of what lies before the items that a prompt shows anyway, which are those held out and
        the newest of the snapshot: a text about these would tell the model nothing."""
        shown_anyway = max(0, self.method.form.limits.history_items - self.held_out)
        return replace(VIEWS[path % len(VIEWS)] if self.views else VIEWS[0], skipped=shown_anyway)

    def perturbed_view(self, path: int, round_number: int) -> View:
        """A path that is lent a text leaves the whole to that one, and looks at one half: the older
        and the newer in turn. What it is lent alone hardly changes what a model writes."""
        part = Part.NEWER if (path + round_number) % 2 else Part.OLDER
        return replace(self.view(path), kind=ViewKind.TITLES, part=part)

    @property
    def views_neighbors(self) -> bool:
        """Whether any path is shown what others chose."""
        return any(self.view(path).kind is ViewKind.NEIGHBORS for path in range(self.paths))

    def as_row(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        return cls.model_validate(row)
