"""Prompts: typed segments, templates, labels, regularization, leads, and clean titles."""

from __future__ import annotations

from services.prompts.composition import PromptTooLong, compose
from services.prompts.labels import (
    LABELS,
    MOST_CANDIDATES,
    in_candidate_order,
    labels_for,
    permutation,
)
from services.prompts.leads import Lead
from services.prompts.regularization import DEFAULT_REGULARIZATION, Regularization
from services.prompts.requests import (
    Demonstrated,
    Limits,
    Mode,
    PromptFormat,
    PromptRequest,
    TemplateName,
    content_free,
)
from services.prompts.segments import (
    Part,
    Prompt,
    Segment,
    SegmentName,
    Shortened,
    Span,
    first_difference,
)
from services.prompts.versions import template_version, template_versions

__all__ = [
    "DEFAULT_REGULARIZATION",
    "LABELS",
    "MOST_CANDIDATES",
    "Demonstrated",
    "Lead",
    "Limits",
    "Mode",
    "Part",
    "Prompt",
    "PromptFormat",
    "PromptRequest",
    "PromptTooLong",
    "Regularization",
    "Segment",
    "SegmentName",
    "Shortened",
    "Span",
    "TemplateName",
    "compose",
    "content_free",
    "first_difference",
    "in_candidate_order",
    "labels_for",
    "permutation",
    "template_version",
    "template_versions",
]
