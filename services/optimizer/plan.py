"""How a run learns: everything that the paper varies, as one value that is stored with the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.demonstrations.generation import View, ViewKind
from services.demonstrations.generator import Writing
from services.optimizer.rules import Collapse, CollapseRule
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
    View(ViewKind.TITLES, 20),
    View(ViewKind.ATTRIBUTES, 20),
    View(ViewKind.NEIGHBORS, 20),
    View(ViewKind.TITLES, 30),
    View(ViewKind.NEIGHBORS, 12),
)


class Plan(BaseModel):
    """Settings of a run; `lrgd runs start --help` and `POST /admin/runs` show them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: int = Field(3, ge=1, le=64, description="m: lines of demonstrations per user.")
    held_out: int = Field(3, ge=1, le=10, description="w: newest positives that judge, at most.")
    draws: int = Field(4, ge=1, le=16, description="K: candidate sets per held-out event.")
    candidates: int = Field(
        50, ge=2, le=128, description="Candidates in a set, the truth included."
    )
    z: float = Field(1.0, ge=0, description="Gains count above z standard errors.")
    similarity: float = Field(0.88, ge=0, le=1, description="τ: texts this alike have not changed.")
    improvement: float = Field(0.0, description="ε: an improvement that is none.")
    window: int = Field(2, ge=1, le=20, description="s: rounds over which a collapse shows.")
    collapse_rule: CollapseRule = Field(CollapseRule.ANY, description="Alike or stalled; or both.")
    perturbed: bool = Field(True, description="Collapsed paths borrow from others.")
    regularized: bool = Field(True, description="X_T_reg is in the prompt.")
    temperature: float = Field(0.8, ge=0, le=2, description="Of the generator.")
    attempts: int = Field(3, ge=1, le=10, description="Tries at a demonstration fit for use.")
    views: bool = Field(True, description="Paths see the user differently.")
    remembered: bool = Field(True, description="The generator is shown effective demonstrations.")
    screened: bool = Field(True, description="What is behind on the first draw gets no others.")
    effective_rank: int = Field(3, ge=1, description="Effective: at least this good a rank.")
    memory: int = Field(10, ge=1, le=100, description="Effective demonstrations kept of a user.")
    template: TemplateName = TemplateName.PREFIX_CACHED
    lead: Lead = Lead.CUE
    mode: Mode = Mode.FIRST_TOKEN
    permutations: int = Field(1, ge=1, le=16)
    calibrated: bool = False
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.calibrated and self.mode is not Mode.FIRST_TOKEN:
            raise ValueError(
                "only the mode first_token can be calibrated: leave `calibrated` or `mode` out"
            )
        return self

    @property
    def method(self) -> Method:
        return self.method_under(DEFAULT_REGULARIZATION)

    def method_under(self, regularization: Regularization) -> Method:
        """`regularization` is the one in force."""
        text = regularization if self.regularized else None
        form = PromptFormat(self.template, self.mode, text, self.lead)
        return Method(form, permutations=self.permutations, calibrated=self.calibrated)

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

    def as_row(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        return cls.model_validate(row)
