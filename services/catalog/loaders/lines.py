"""The lines of a file, one at a time: their numbers, where to resume, and what became of each.

Memory is bounded by the longest line that is accepted, never by the file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.errors import LrgdError

LONGEST_LINE = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
FOREIGN_CONTAINERS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstandard",
    b"\xff\xfe": "encoded in UTF-16",
    b"\xfe\xff": "encoded in UTF-16",
}


class UnreadableFile(LrgdError):
    """The file as a whole cannot be read. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines: how many lines and (uncompressed) bytes lie before it."""

    line: int = 0
    offset: int = 0


BEGINNING = Position()


@dataclass(frozen=True, slots=True)
class BadLine:
    reason: str


Row = NewItem | NewUser | NewEvent
Parse = Callable[[bytes], Row | BadLine]


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    end: int
    row: Row | BadLine

    @property
    def position(self) -> Position:
        """Where to go on after this line."""
        return Position(self.number, self.end)


def parsed_lines(path: Path, parse: Parse, start: Position = BEGINNING) -> Iterator[Line]:
    """Every line that is not blank, parsed. Numbers count the blank ones too."""
    origin = path.name.removesuffix(".gz").encode()
    for number, end, raw in raw_lines(path, start):
        line = parsed_line(raw, number, end, parse, origin)
        if line is not None:
            yield line


def parsed_line(
    raw: bytes | None, number: int, end: int, parse: Parse, origin: bytes
) -> Line | None:
    """None for a blank line; `raw` is None for one that is too long."""
    if raw is None:
        return Line(number, end, BadLine(f"is longer than {LONGEST_LINE:,} bytes"))
    if raw.isspace():
        return None
    row = parse(raw)
    if type(row) is NewEvent:
        row = _repeatable(row, raw, number, origin)
    return Line(number, end, row)


def raw_lines(path: Path, start: Position) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, end and bytes of each line; None in place of the bytes of a line that is too long."""
    with opened(path) as stream:
        number, end = start.line, start.offset
        try:
            end += _resume(stream, start, path)
            while raw := stream.readline(LONGEST_LINE + 1):
                number += 1
                end += len(raw)
                if len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
                    end += _skip_rest(stream)
                    yield number, end, None
                else:
                    yield number, end, raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
        except (EOFError, zlib.error, OSError) as error:
            raise UnreadableFile(
                f"{path} cannot be read beyond line {number}: {error}. "
                "If it is a download, it may be cut off."
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, uncompressed. Contents decide, not the name: downloads lose their .gz."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be opened: {error.strerror or error}.") from error
    with file:
        magic = file.peek(8)
        for mark, description in FOREIGN_CONTAINERS.items():
            if magic.startswith(mark):
                raise UnreadableFile(
                    f"{path} is {description}. Convert it to plain or gzip-compressed UTF-8 first."
                )
        if not magic.startswith(GZIP):
            yield file
            return
        unpacked = cast("io.RawIOBase", gzip.GzipFile(fileobj=file))
        # GzipFile.readline is Python; a buffer around it makes reading lines twice as fast.
        with io.BufferedReader(unpacked, 1 << 17) as stream:
            yield stream


def _resume(stream: BinaryIO, start: Position, path: Path) -> int:
    """Go to the position; return how many bytes beyond it reading begins."""
    if start.offset == 0:
        return 0
    stream.seek(start.offset - 1)
    before = stream.read(1)
    if before == b"\n":
        return 0
    # The last line of a file may lack its newline, and get it when more lines are appended.
    after = stream.read(1) if before else b""
    if before and after in (b"", b"\n"):
        return len(after)
    raise UnreadableFile(
        f"{path} has changed: no line ends at byte {start.offset}, where reading should go on. "
        "Import it from the beginning."
    )


def _skip_rest(stream: BinaryIO) -> int:
    skipped = 0
    while piece := stream.readline(LONGEST_LINE):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _repeatable(event: NewEvent, raw: bytes, number: int, origin: bytes) -> NewEvent:
    """An event with neither id nor time got a random id; a file must count once if read twice."""
    given = event.event_id or ""
    if not given.startswith("srv-") or given.encode() in raw:
        return event
    digest = hashlib.blake2b(b"%s\x00%d\x00%s" % (origin, number, raw.strip()), digest_size=16)
    return event.model_copy(update={"event_id": f"line-{digest.hexdigest()}"})
