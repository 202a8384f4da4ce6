"""A variant: the unit that is evaluated, accepted, served and rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.prompts.requests import Demonstrated


@dataclass(frozen=True, slots=True)
class ServedVariant:
    """A variant as it is at hand while recommending: its texts, and how good it was found.

    `active` is the one that is served to the user; the others are the best of their paths, for
    experiments that compare numbers of paths.
    """

    variant_id: str
    path: int
    round: int
    effect_d: float
    log_score: float
    tokens: int
    current: str
    perturbation: str | None = None
    active: bool = False

    def texts(self) -> Demonstrated:
        return Demonstrated(self.current, self.perturbation)


def served_of(variants: Sequence[ServedVariant], paths: int | None = None) -> ServedVariant | None:
    """The active one; or, among the first `paths` paths, the best by log-score, then
    Effect_D, then tokens, as rounds choose by default. None is zero-shot."""
    if paths is None:
        return next((variant for variant in variants if variant.active), None)
    return max(
        (variant for variant in variants if variant.path < paths),
        key=lambda one: (one.log_score, one.effect_d, -one.tokens),
        default=None,
    )
