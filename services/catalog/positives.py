"""Which events say that a user liked or took an item."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_

from services.catalog.models import Event
from services.errors import ConfigurationError

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
RULE = re.compile(r"(?P<type>[^<>=]+?)\s*(?:(?P<sign>>=|<=|==|>|<)\s*(?P<bound>-?\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class PositiveRule:
    """`purchase`, or `rating>=4`: an event type, perhaps with a bound on its value."""

    type: str
    sign: str | None = None
    bound: float | None = None

    @classmethod
    def parse(cls, text: str) -> PositiveRule:
        match = RULE.fullmatch(text.strip())
        if match is None:
            raise ConfigurationError(
                f"LRGD_POSITIVE_EVENTS: {text!r} is not `type` or `type>=value`"
            )
        bound = match["bound"]
        return cls(match["type"], match["sign"], float(bound) if bound else None)

    def holds(self, type_: str, value: float | None) -> bool:
        if type_ != self.type:
            return False
        if self.sign is None or self.bound is None:
            return True
        return value is not None and COMPARISONS[self.sign](value, self.bound)

    def clause(self) -> ColumnElement[bool]:
        if self.sign is None or self.bound is None:
            return Event.type == self.type
        return and_(Event.type == self.type, COMPARISONS[self.sign](Event.value, self.bound))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PositiveEvents:
    rules: tuple[PositiveRule, ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> PositiveEvents:
        if not texts:
            raise ConfigurationError("LRGD_POSITIVE_EVENTS is empty: name at least one event type")
        return cls(tuple(map(PositiveRule.parse, texts)))

    def include(self, type_: str, value: float | None) -> bool:
        return any(rule.holds(type_, value) for rule in self.rules)

    def clause(self) -> ColumnElement[bool]:
        return or_(*(rule.clause() for rule in self.rules))
