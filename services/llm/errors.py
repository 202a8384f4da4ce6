"""What can go wrong between us and a language model, as one small tree.

ModelError
├── ModelUnavailable        nobody answers, or the server fails
│   ├── CircuitOpen         it failed so often that we do not ask for a while
│   └── ServerFailed        it answered with a 5xx status
├── ModelOverloaded         it has too much to do
│   └── QueueFull           we have, for it
├── ModelTimeout            the deadline passed
├── ModelRefused            it will not do this, however often it is asked
│   ├── ContextOverflow     the prompt is longer than its context
│   ├── WrongModel          it serves another model
│   ├── LabelsUnfit         its tokenizer cuts the labels
│   └── AbilityMissing      it cannot do this at all
└── MalformedAnswer         it answered garbage
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from services.errors import LrgdError
from services.llm.ability import Ability


class Flaw(StrEnum):
    NOT_JSON = "not_json"
    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    MISSING_LABELS = "missing_labels"
    DUPLICATE_LABELS = "duplicate_labels"
    TOO_MANY_TOKENS = "too_many_tokens"
    NO_TEXT = "no_text"


class ModelError(LrgdError):
    """`outcome` names the error in metrics; `passing` says that waiting may help."""

    outcome: ClassVar[str] = "failed"
    passing: ClassVar[bool] = False


class ModelUnavailable(ModelError):
    outcome = "unavailable"
    passing = True


class CircuitOpen(ModelUnavailable):
    outcome = "circuit_open"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerFailed(ModelUnavailable):
    outcome = "server_failed"


class ModelOverloaded(ModelError):
    outcome = "overloaded"
    passing = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(ModelOverloaded):
    outcome = "queue_full"


class ModelTimeout(ModelError):
    outcome = "timeout"
    passing = True


class ModelRefused(ModelError):
    outcome = "refused"


class ContextOverflow(ModelRefused):
    outcome = "context_overflow"


class WrongModel(ModelRefused):
    outcome = "wrong_model"


class LabelsUnfit(ModelRefused):
    outcome = "labels_unfit"


class AbilityMissing(ModelRefused):
    outcome = "ability_missing"

    def __init__(self, ability: Ability, message: str) -> None:
        super().__init__(message)
        self.ability = ability


class MalformedAnswer(ModelError):
    outcome = "malformed"

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw
