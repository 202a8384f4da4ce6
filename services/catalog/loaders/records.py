"""JSON lines of other systems: an object a line, whose fields another module understands."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from services.catalog.loaders.lines import BadLine, Parse, Row
from services.catalog.loaders.reasons import not_json

Record = dict[str, Any]


def record_parser(understand: Callable[[Record], Row | BadLine], *, loose: bool = False) -> Parse:
    """Parses the line and hands its object on. `loose` also takes Python literals for JSON."""

    def parse(raw: bytes) -> Row | BadLine:
        record = record_of(raw, loose=loose)
        return record if isinstance(record, BadLine) else understand(record)

    return parse


def record_of(raw: bytes, *, loose: bool = False) -> Record | BadLine:
    try:
        record = from_json(raw)
    except ValueError as error:
        literal = _literal(raw) if loose else None
        if literal is None:
            return BadLine(not_json(raw, str(error)))
        record = literal
    return record if isinstance(record, dict) else BadLine("the line: must be an object")


def _literal(raw: bytes) -> object | None:
    """The value of a Python literal: early Amazon files hold `{'asin': u'0001'}` for JSON."""
    if not raw.lstrip().startswith(b"{"):
        return None
    try:
        # Backslashes that mean nothing to Python are common here and none of the reader's business.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value: object = ast.literal_eval(raw.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if not isinstance(value, dict) or all(isinstance(k, str) for k in value) else None
