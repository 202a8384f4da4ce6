"""X_T_reg: what a model may answer. Rarely changed, versioned by its content, may be off (None)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.prompts.titles import clean


@dataclass(frozen=True, slots=True)
class Regularization:
    """One sentence for answers by label, one for answers by title (`likelihood`)."""

    by_label: str
    by_title: str

    def __post_init__(self) -> None:
        for text in (self.by_label, self.by_title):
            if not text or clean(text) != text:
                raise ValueError(
                    f"a regularization is one plain line of at most 400 characters: {text!r}"
                )

    @property
    def version(self) -> str:
        return hashlib.sha256(f"{self.by_label}\n{self.by_title}".encode()).hexdigest()[:12]


DEFAULT_REGULARIZATION = Regularization(
    by_label="Answer only with labels of candidates, best first, separated by spaces.",
    by_title="Answer only with the title of one item.",
)
