"""What is wrong with a line, in plain words: the field first, then the complaint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

MOST_COMPLAINTS = 3
# A field name comes from the file: it may be as long as a line.
LONGEST_FIELD = 80

_COLUMN = re.compile(r" at line \d+ column (\d+)$")

_COMPLAINTS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "is longer than {max_length} characters",
    "too_long": "has more than {max_length} entries",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "dataclass_type": "must be an object",
}
NOT_A_TIME = "is not a time such as 2026-01-31T12:00:00Z"


def invalid(error: ValidationError, names: Mapping[str, str] | None = None) -> str:
    """The first complaints of a validation. `names` maps our fields to those of the file."""
    details = error.errors(include_url=False, include_input=False)
    complaints = [_complaint(detail, names or {}) for detail in details[:MOST_COMPLAINTS]]
    if len(details) > MOST_COMPLAINTS:
        complaints.append(f"and {len(details) - MOST_COMPLAINTS} more")
    return "; ".join(complaints)


def not_json(raw: bytes, complaint: str) -> str:
    """Broken UTF-8 is named as such: a JSON parser only speaks of an invalid code point."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"is not valid UTF-8 (byte {error.start + 1} of the line)"
    return "is not valid JSON: " + _COLUMN.sub(r" at column \1", complaint)


def parser_complaint(error: ValidationError) -> str | None:
    """What the JSON parser said, if the text could not even be parsed."""
    first = error.errors(include_url=False, include_input=False)[0]
    return str(first["ctx"]["error"]) if first["type"] == "json_invalid" else None


def _complaint(detail: ErrorDetails, names: Mapping[str, str]) -> str:
    field, *inner = detail["loc"] or ("the line",)
    path = ".".join([names.get(str(field), str(field)), *map(str, inner)])
    if len(path) > LONGEST_FIELD:
        path = path[:LONGEST_FIELD] + "…"
    return f"{path}: {_words(detail['type'], detail.get('ctx', {}), detail['msg'])}"


def _words(kind: str, context: dict[str, Any], message: str) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith(("datetime", "timezone")):
        return NOT_A_TIME
    if kind in _COMPLAINTS:
        return _COMPLAINTS[kind].format(**context)
    return message[:1].lower() + message[1:]
