"""A variant: the unit that is evaluated, accepted, served and rolled back."""

from __future__ import annotations

from dataclasses import dataclass

from services.demonstrations.demonstration import Demonstration
from services.prompts.requests import Demonstrated


@dataclass(frozen=True, slots=True)
class Variant:
    """X_D_curr, and X_D_per or none."""

    current: Demonstration
    perturbation: Demonstration | None = None

    def texts(self) -> Demonstrated:
        perturbation = self.perturbation
        return Demonstrated(
            self.current.as_text(), None if perturbation is None else perturbation.as_text()
        )
