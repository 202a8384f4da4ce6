"""What holds for every format: positions, limits, damage and flat memory."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.catalog.inputs import Kind
from services.catalog.loaders import BadLine, Format, Line, Position, UnreadableFile, read
from services.catalog.loaders.lines import LONGEST_LINE

EVENTS = [
    b'{"event_id":"e%d","user_id":"u%d","item_id":"i","type":"view"}\n' % (n, n % 7)
    for n in range(12)
]
FILES: dict[Format, tuple[str, bytes]] = {
    Format.JSONL: (
        "events.jsonl",
        b"".join([*EVENTS[:4], b"\n", b"{broken\n", b"  \r\n", *EVENTS[4:]]),
    ),
    Format.RECBOLE: (
        "shop.inter",
        b"user_id:token\titem_id:token\ttimestamp:float\n"
        b"u1\ti1\t1700000000\nu2\ti1\nu1\t\xff\t3\n\nu3\ti3\t1700000009",
    ),
    Format.AMAZON: (
        "reviews.json",
        b'{"reviewerID":"A","asin":"1","overall":5.0,"unixReviewTime":1}\n'
        b"{'reviewerID': 'B', 'asin': '2', 'overall': 1.0, 'unixReviewTime': 2}\n"
        b'{"reviewerID":"C","overall":5.0,"unixReviewTime":1}\n'
        b'{"reviewerID":"D","asin":"1","overall":2.0,"unixReviewTime":1}\n',
    ),
    Format.GORSE: (
        "feedback.jsonl",
        b'{"FeedbackType":"like","UserId":"1","ItemId":"2","Timestamp":"2024-05-01"}\n'
        b'{"UserId":"1"}\n\n{"ItemId":"2"}\n{}\n',
    ),
}


def write(path: Path, content: bytes, *, packed: bool = False) -> Path:
    if packed:
        path = path.with_name(path.name + ".gz")
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def without_ids(lines: Iterator[Line]) -> list[object]:
    """Events without a time are given the present one, so two readings differ in it."""
    return [
        (line.number, line.end, line.row)
        if isinstance(line.row, BadLine)
        else (line.number, line.end, line.row.model_dump(exclude={"occurred_at"}))
        for line in lines
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("format", list(Format))
def test_reading_resumes_after_any_line(tmp_path: Path, format: Format, packed: bool) -> None:
    name, content = FILES[format]
    path = write(tmp_path / name, content, packed=packed)
    whole = list(read(path, format))
    expected = without_ids(iter(whole))
    assert len(whole) > 3
    assert any(isinstance(line.row, BadLine) for line in whole)
    assert without_ids(read(path, format, start=Position())) == expected
    for index, line in enumerate(whole):
        rest = read(path, format, start=line.position)
        assert without_ids(rest) == expected[index + 1 :]


@pytest.mark.parametrize("format", list(Format))
def test_the_last_end_is_the_size_of_the_uncompressed_file(tmp_path: Path, format: Format) -> None:
    name, content = FILES[format]
    path = write(tmp_path / name, content, packed=True)
    assert list(read(path, format))[-1].end == len(content)


def test_numbers_and_ends_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl", FILES[Format.JSONL][1])
    content = path.read_bytes()
    for line in read(path, Format.JSONL):
        assert content[: line.end].count(b"\n") == line.number
        assert content[line.end - 1 : line.end] == b"\n"


def test_lines_appended_after_an_unfinished_last_line_are_read_from_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl", b"".join(EVENTS[:2]).rstrip(b"\n"))
    last = list(read(path, Format.JSONL))[-1]
    with path.open("ab") as file:
        file.write(b"\n" + EVENTS[2])
    (line,) = read(path, Format.JSONL, start=last.position)
    assert (line.number, line.end) == (3, path.stat().st_size)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("offset", [5, 10_000])
def test_a_file_that_changed_under_the_position_is_refused(
    tmp_path: Path, offset: int, packed: bool
) -> None:
    path = write(tmp_path / "events.jsonl", b"".join(EVENTS), packed=packed)
    with pytest.raises(UnreadableFile, match="has changed"):
        list(read(path, Format.JSONL, start=Position(1, offset)))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_line_beyond_the_limit_is_bad_and_the_next_one_is_read(
    tmp_path: Path, packed: bool
) -> None:
    long = b'{"user_id":"' + b"x" * (3 * LONGEST_LINE) + b'"}\n'
    path = write(tmp_path / "users.jsonl", long + b'{"user_id":"u"}\n' + long[:-1], packed=packed)
    first, second, third = read(path, Format.JSONL, Kind.USERS)
    assert first == Line(1, len(long), BadLine("is longer than 1,048,576 bytes"))
    assert second.number == 2
    assert not isinstance(second.row, BadLine)
    assert (third.number, third.end) == (3, 2 * len(long) + len(b'{"user_id":"u"}\n') - 1)
    assert isinstance(third.row, BadLine)


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    padded = b'{"user_id":"u"}'.ljust(LONGEST_LINE) + b"\n"
    (line,) = read(write(tmp_path / "users.jsonl", padded), Format.JSONL)
    assert not isinstance(line.row, BadLine)


def test_a_cut_off_download_gives_its_whole_lines_then_says_so(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(EVENTS * 2000))
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    seen: list[Line] = []
    with pytest.raises(UnreadableFile, match="cut off"):
        seen.extend(read(path, Format.JSONL))
    assert len(seen) > 100
    assert not any(isinstance(line.row, BadLine) for line in seen)


def test_contents_and_not_the_name_say_whether_a_file_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(gzip.compress(EVENTS[0]))
    (line,) = read(path, Format.JSONL)
    assert not isinstance(line.row, BadLine)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (line,) = read(write(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + EVENTS[0]), Format.JSONL)
    assert not isinstance(line.row, BadLine)
    assert line.end == len(EVENTS[0]) + 3


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        list(read(tmp_path / "nothing.jsonl", Format.JSONL))
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        list(read(tmp_path, Format.JSONL))


def test_an_event_without_id_and_time_has_the_same_id_in_every_reading(tmp_path: Path) -> None:
    line = b'{"user_id":"u","item_id":"i","type":"purchase"}\n'
    path = write(tmp_path / "events.jsonl", line * 2)
    packed = write(tmp_path / "events.jsonl", line * 2, packed=True)

    def ids(path: Path) -> list[str | None]:
        return [getattr(line.row, "event_id", None) for line in read(path, Format.JSONL)]

    assert ids(path) == ids(path) == ids(packed)
    assert len(set(ids(path))) == 2


def test_an_id_of_our_own_making_survives_import(tmp_path: Path) -> None:
    line = b'{"event_id":"srv-abc","user_id":"u","item_id":"i","type":"purchase"}\n'
    (read_back,) = read(write(tmp_path / "events.jsonl", line), Format.JSONL)
    assert getattr(read_back.row, "event_id", None) == "srv-abc"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, packed: bool) -> None:
    def peak(lines: int) -> int:
        block = b"".join(EVENTS[:10])
        path = write(tmp_path / f"{lines}.jsonl", block * (lines // 10), packed=packed)
        tracemalloc.start()
        try:
            assert sum(1 for _ in read(path, Format.JSONL, Kind.EVENTS)) == lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is made once
    small, large = peak(10_000), peak(100_000)
    assert large < 1 << 20
    assert large < small + (32 << 10)
