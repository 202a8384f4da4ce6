from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.evaluation.files import (
    BadLine,
    beside,
    expect_earlier,
    read_data,
    read_split,
    validation_of,
)
from lab.evaluation.questions import Split
from services.errors import ConfigurationError
from tests.unit.lab.evaluation.conftest import ROWS, WriteData


def read(folder: Path) -> Split:
    return read_split(folder / "test-few.jsonl", read_data(folder))


def test_a_question_is_the_beginning_of_a_sequence_and_the_candidates(split: Split) -> None:
    ada, bob = split.questions
    assert ada.history == ("i0", "i1", "i2", "i3")
    assert ada.candidates == ("i8", "i4", "i9", "i7")
    assert bob.history == ("i1", "i2", "i3")
    assert split.targets == {"ada": "i4", "bob": "i5"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("not json", "this is not JSON"),
        ("[1]", "an object is expected"),
        ({"target": None}, "target must be a string"),
        ({"history_length": "4"}, "history_length must be a whole number"),
        ({"history_length": True}, "history_length must be a whole number"),
        ({"history_length": 6}, "history_length is 6, but sequences.tsv has 5 items of ada"),
        ({"user_id": "zoe"}, "user zoe is not in sequences.tsv"),
        ({"candidates": "i4"}, "candidates must be a list of item ids"),
        ({"candidates": ["i4"]}, "1 candidates, not 2 to 128"),
        ({"candidates": ["i4", "i4"]}, "a candidate is there twice"),
        ({"candidates": ["i4", "i99"]}, "candidate i99 is not in items.tsv"),
        ({"target": "i5"}, "the target is not among the candidates"),
        ({"target": "i3", "candidates": ["i3", "i9"]}, "the target is in the history"),
        ({"user_id": "bob", "target": "i8", "history_length": 1}, "user bob has a line already"),
    ],
)
def test_a_bad_line_is_named_by_its_number(
    write_data: WriteData, change: Any, complaint: str
) -> None:
    bad = change if isinstance(change, str) else {**ROWS[0], **change}
    folder = write_data([ROWS[1], bad])
    with pytest.raises(BadLine, match="line 2: ") as refused:
        read(folder)
    assert "test-few.jsonl" in str(refused.value)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("key", ["user_id", "history_length", "target", "candidates"])
def test_a_line_that_lacks_something_says_what(write_data: WriteData, key: str) -> None:
    folder = write_data([{name: value for name, value in ROWS[0].items() if name != key}])
    with pytest.raises(BadLine, match=f"line 1: {key} missing"):
        read(folder)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"items": "item_id\ttitle\ni0 no tab\n"}, "items.tsv, line 2: two columns"),
        ({"items": "item_id\ttitle\ni0\ta\ni0\tb\n"}, "items.tsv, line 3: item i0 has a line"),
        ({"sequences": "user\titems\nada\ti0 i77\n"}, "sequences.tsv, line 2: item i77 is not in"),
        ({"sequences": "user\titems\na\ti0\na\ti1\n"}, "sequences.tsv, line 3: user a has a line"),
    ],
)
def test_so_is_one_of_items_or_sequences(
    write_data: WriteData, files: dict[str, str], complaint: str
) -> None:
    with pytest.raises(BadLine) as refused:
        read(write_data(**files))
    assert complaint in str(refused.value)


def test_bytes_that_are_no_text_are_named_too(write_data: WriteData) -> None:
    folder = write_data()
    (folder / "items.tsv").write_bytes(b"item_id\ttitle\ni0\t\xff\n")
    with pytest.raises(BadLine, match="line 2: this is not UTF-8"):
        read(folder)


def test_files_that_are_not_there_or_empty_are_said_to_be(write_data: WriteData) -> None:
    folder = write_data([])
    with pytest.raises(ConfigurationError, match="has no user"):
        read(folder)
    (folder / "sequences.tsv").unlink()
    with pytest.raises(ConfigurationError, match=r"there is no file .*sequences\.tsv"):
        read(folder)


def test_the_digest_changes_with_any_of_the_files(write_data: WriteData) -> None:
    digests = {read(write_data()).digest, read(write_data()).digest}
    assert len(digests) == 1
    retitled = write_data(items=(write_data() / "items.tsv").read_text().replace("Title", "Name"))
    digests.add(read(retitled).digest)
    digests.add(read(write_data(ROWS[:1])).digest)
    assert len(digests) == 3


def test_a_validation_file_lies_beside_its_test_file() -> None:
    assert beside(Path("a/test-some.jsonl")) == Path("a/valid-some.jsonl")
    assert beside(Path("a/some.jsonl")) is None


BEFORE = [
    {"user_id": "ada", "history_length": 3, "target": "i3", "candidates": ["i3", "i9"]},
    {"user_id": "bob", "history_length": 2, "target": "i3", "candidates": ["i3", "i9"]},
]


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_file_that_asks_the_same_users_earlier_has_their_validation_targets(
    write_data: WriteData, tmp_path: Path
) -> None:
    folder = write_data()
    others = {**BEFORE[0], "user_id": "zoe"}
    (folder / "valid-z.jsonl").write_text(lines(BEFORE[0], others))  # not about bob
    (folder / "valid-b.jsonl").write_text("not JSON\n" + lines(*BEFORE))
    mine = tmp_path / "hidden.jsonl"
    mine.write_text("not JSON\n" + lines(*ROWS))
    assert validation_of(mine, folder) == folder / "valid-b.jsonl"
    (folder / "valid-b.jsonl").unlink()
    assert validation_of(mine, folder) is None
    assert validation_of(folder / "test-few.jsonl", folder) == folder / "valid-few.jsonl"
    assert validation_of(tmp_path / "absent.jsonl", folder) is None


def test_a_file_that_asks_the_same_or_what_comes_later_is_not_learned_from(
    write_data: WriteData, tmp_path: Path
) -> None:
    folder = write_data()
    for name, rows in (("valid-same.jsonl", ROWS), ("valid-some.jsonl", [BEFORE[0], ROWS[1]])):
        (folder / name).write_text(lines(*rows))
    mine = tmp_path / "hidden.jsonl"
    mine.write_text(lines(*ROWS))
    assert validation_of(mine, folder) is None
    assert validation_of(folder / "valid-same.jsonl", folder) is None
    mine.write_text(lines(*BEFORE))
    assert validation_of(mine, folder) is None


def test_validation_targets_are_part_of_what_is_shown(write_data: WriteData) -> None:
    folder = write_data()
    data = read_data(folder)
    test = read_split(folder / "test-few.jsonl", data)
    write_data(BEFORE, name="valid-few.jsonl")
    expect_earlier(read_split(folder / "valid-few.jsonl", data), test)
    for later in (ROWS[1], {**BEFORE[1], "target": "i5", "candidates": ["i5", "i9"]}):
        write_data([BEFORE[0], later], name="valid-few.jsonl")
        with pytest.raises(ConfigurationError, match=r"valid-few.jsonl asks about bob .* --valid"):
            expect_earlier(read_split(folder / "valid-few.jsonl", data), test)
