"""Other systems' values made to fit ours.

An item with a shortened description is worth more than no item, so foreign texts and labels are
cleaned and cut. Ids never are: two cut ids may become one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from services.catalog.loaders.lines import BadLine, Row
from services.catalog.loaders.reasons import NOT_A_TIME, invalid

LONGEST_TITLE = 1000
LONGEST_LABEL = 200
LONGEST_ATTRIBUTE = 1000
MOST_CATEGORIES = 100
MOST_ATTRIBUTES = 100

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Go writes the year 1 where it has no time.
NO_TIME_BEFORE = datetime(1, 1, 2, tzinfo=UTC)

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\s]+")
_TIME = re.compile(
    r"(?P<date>\d{4}[-/]\d{1,2}[-/]\d{1,2})"
    r"(?:[T ](?P<clock>\d{1,2}:\d{2}(?::\d{2})?)(?P<fraction>\.\d+)?"
    r" ?(?P<zone>Z|[+-]\d{2}:?\d{2})?(?: [A-Z]{1,5})?)?"
)


def text(value: object, longest: int) -> str:
    """One line of storable text: no control characters, no half surrogates, not too long."""
    if not isinstance(value, str):
        value = _written(value)
    spaced = _UNPRINTABLE.sub(" ", value[: 4 * longest])
    return spaced.encode("utf-8", "replace").decode().strip()[:longest].rstrip()


def title(value: object) -> str | None:
    return text(value, LONGEST_TITLE) or None


def categories(values: object) -> tuple[str, ...]:
    """Labels in their order, each once; lists in lists are laid flat."""
    found: dict[str, None] = {}
    for value in _flat(values):
        label = text(value, LONGEST_LABEL)
        if label:
            found[label] = None
        if len(found) == MOST_CATEGORIES:
            break
    return tuple(found)


def attributes(pairs: Iterable[tuple[object, object]]) -> dict[str, str]:
    """Named texts. Empty values say nothing and lists of numbers are vectors: both are left out."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if isinstance(value, Mapping):
            inner = attributes(value.items())
            named = [(f"{name}.{key}", entry) for key, entry in inner.items()]
        elif _is_vector(value):
            named = []
        else:
            named = [(str(name), text(value, LONGEST_ATTRIBUTE))]
        for key, entry in named:
            label = text(key, LONGEST_LABEL)
            if label and entry and len(found) < MOST_ATTRIBUTES:
                found[label] = entry
    return found


def moment(value: object) -> datetime | None:
    """A time given as seconds, milliseconds, microseconds or nanoseconds since 1970, or as text.

    None where the file has no time. Raises ValueError with a plain complaint.
    """
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if match := _TIME.fullmatch(value):
            return _from_calendar(match)
        try:
            value = float(value)
        except ValueError:
            raise ValueError(NOT_A_TIME) from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(NOT_A_TIME)  # noqa: TRY004 - it is a value of a file, not of our code
    try:
        if not math.isfinite(value):
            raise ValueError(NOT_A_TIME)
        return _since_1970(value)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


def build(model: type[Row], values: dict[str, Any], names: Mapping[str, str]) -> Row | BadLine:
    """A row of ours; complaints speak of the file's own `names` of our fields."""
    try:
        return model(**values)
    except ValidationError as error:
        return BadLine(invalid(error, names))


def _since_1970(value: float) -> datetime:
    # 1e11 seconds lie in the year 5138 and 1e11 milliseconds in 1973: no data set is ambiguous.
    size = abs(value)
    if size < 1e11:
        return EPOCH + timedelta(seconds=value)
    if size < 1e14:
        return EPOCH + timedelta(milliseconds=value)
    return EPOCH + timedelta(microseconds=value if size < 1e17 else value / 1000)


def _from_calendar(match: re.Match[str]) -> datetime | None:
    year, month, day = (int(part) for part in re.split("[-/]", match["date"]))
    hour, minute, second = (*(int(part) for part in (match["clock"] or "0:0").split(":")), 0)[:3]
    micro = int(((match["fraction"] or ".0")[1:7]).ljust(6, "0"))
    try:
        found = datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
        zone = match["zone"]
        if zone and zone != "Z":
            ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            found = found - ahead if zone[0] == "+" else found + ahead
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None
    except ValueError:
        raise ValueError(NOT_A_TIME) from None
    return found if found >= NO_TIME_BEFORE else None


def _flat(value: object) -> Iterable[object]:
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _flat(entry)
    elif value is not None:
        yield value


def _written(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, (text(entry, LONGEST_LABEL) for entry in _flat(value))))
    return str(value)


def _is_vector(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, float | int) and not isinstance(entry, bool) for entry in value)
    )
