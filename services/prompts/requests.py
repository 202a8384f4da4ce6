"""What a prompt is asked for, and in which form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from services.prompts.labels import LABELS
from services.prompts.leads import Lead
from services.prompts.regularization import DEFAULT_REGULARIZATION, Regularization


class TemplateName(StrEnum):
    PAPER = "paper"
    PREFIX_CACHED = "prefix_cached"
    INV = "inv"


class Mode(StrEnum):
    FIRST_TOKEN = "first_token"  # noqa: S105 - a way of scoring, no secret
    LIKELIHOOD = "likelihood"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of history: the newest `history_items`, and older ones as far as `extra_history_tokens` go.

    `prompt_tokens` is for the whole prompt, `chat_tokens` of it for the model's own chat template.
    """

    prompt_tokens: int = 1792
    chat_tokens: int = 32
    demonstration_tokens: int = 160
    title_tokens: int = 32
    history_items: int = 10
    extra_history_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """`labels` are those that are one token each for the model at hand: all, for most."""

    template: TemplateName = TemplateName.PREFIX_CACHED
    mode: Mode = Mode.FIRST_TOKEN
    regularization: Regularization | None = DEFAULT_REGULARIZATION
    lead: Lead = Lead.CUE
    limits: Limits = Limits()
    labels: tuple[str, ...] = LABELS


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """The texts of a variant: X_D_curr, and X_D_per or none."""

    current: str
    perturbation: str | None = None


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Raw titles, None where an item has none: history oldest first, candidates as they come.

    `order` is the order in which candidates are shown (see `permutation`); without it they are
    shown as they come. `reasoning` is what the model has already written for a reasoning lead.
    """

    history: tuple[str | None, ...] = ()
    candidates: tuple[str | None, ...] = ()
    order: tuple[int, ...] | None = None
    demonstrated: Demonstrated | None = None
    reasoning: str | None = None


def content_free(request: PromptRequest) -> PromptRequest:
    """The same places and labels without content: what its answer prefers is the label prior."""
    return replace(
        request,
        history=("N/A",) * min(1, len(request.history)),
        candidates=("N/A",) * len(request.candidates),
        order=None,
        demonstrated=None,
        reasoning=None,
    )
