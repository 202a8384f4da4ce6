"""Lines of our own JSONL that arrive in chunks, as the body of a request does."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.catalog.inputs import Kind
from services.catalog.loaders.jsonl import line_parser
from services.catalog.loaders.lines import BYTE_ORDER_MARK, LONGEST_LINE, Line, parsed_line


async def lines_of_stream(
    chunks: AsyncIterator[bytes], kind: Kind, *, origin: str
) -> AsyncIterator[Line]:
    """Every line that is not blank, as `parsed_lines` gives those of a file."""
    parse = line_parser(kind)
    number = end = 0
    async for raw, length in _raw_lines(chunks):
        number += 1
        end += length
        content = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 and raw is not None else raw
        line = parsed_line(content, number, end, parse, origin.encode())
        if line is not None:
            yield line


async def _raw_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes | None, int]]:
    """Each line with its newline and its length; None in place of a line that is too long, of
    which no more is held than shows that it is."""
    kept, dropped = b"", 0
    async for chunk in chunks:
        *whole, rest = (kept + chunk).split(b"\n")
        for line in whole:
            length = dropped + len(line) + 1
            yield (line + b"\n" if length <= LONGEST_LINE + 1 else None), length
            dropped = 0
        kept = rest
        if dropped + len(rest) > LONGEST_LINE:
            kept, dropped = b"", dropped + len(rest)
    if kept or dropped:
        yield (None if dropped else kept), dropped + len(kept)
