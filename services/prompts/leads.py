"""X_T_lead: everything that the model has been made to say so far."""

from __future__ import annotations

from enum import StrEnum

from services.prompts.titles import clean

CUE = "Next:"
REASONING_CUE = "Reasoning:"


class Lead(StrEnum):
    NONE = "none"
    CUE = "cue"
    REASONING = "reasoning"

    def text(self, reasoning: str | None = None) -> str:
        """With `reasoning` still to be written (to the end of its line), only its own cue."""
        match self:
            case Lead.NONE:
                return ""
            case Lead.CUE:
                return CUE
            case Lead.REASONING if reasoning is None:
                return REASONING_CUE
            case Lead.REASONING:
                return f"{REASONING_CUE} {clean(reasoning)}\n{CUE}"
