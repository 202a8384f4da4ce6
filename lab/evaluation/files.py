"""Evaluation data as files: items and sequences as TSV, one user's candidates in a JSON line.

    items.tsv        item_id, title
    sequences.tsv    user_id, item ids oldest first, separated by spaces
    NAME.jsonl       {"user_id", "history_length", "target", "candidates"}

The history of a line is the first `history_length` items of the user's sequence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.evaluation.questions import Question, Split
from services.errors import ConfigurationError, LrgdError
from services.prompts import MOST_CANDIDATES

ITEMS, SEQUENCES = "items.tsv", "sequences.tsv"
_KEYS = ("user_id", "history_length", "target", "candidates")


class BadLine(LrgdError):
    def __init__(self, file: Path, line: int, what: str) -> None:
        super().__init__(f"{file}, line {line}: {what}")


@dataclass(frozen=True)
class Data:
    """`digest` is of the bytes of both files."""

    titles: Mapping[str, str]
    sequences: Mapping[str, tuple[str, ...]]
    digest: str


def read_data(folder: Path) -> Data:
    items, sequences = (existing(folder / name) for name in (ITEMS, SEQUENCES))
    titles = _read_items(items)
    return Data(titles, _read_sequences(sequences, titles), _digest(items, sequences))


def read_split(file: Path, data: Data) -> Split:
    questions: dict[str, Question] = {}
    targets: dict[str, str] = {}
    for number, line in _lines(existing(file)):
        row = _row(file, number, line)
        question = _question(file, number, row, data)
        if question.user_id in questions:
            raise BadLine(file, number, f"user {question.user_id} has a line already")
        questions[question.user_id] = question
        targets[question.user_id] = row["target"]
    if not questions:
        raise ConfigurationError(f"{file} has no user")
    digest = hashlib.sha256((data.digest + _digest(file)).encode()).hexdigest()[:16]
    return Split(file.name, tuple(questions.values()), targets, digest)


def beside(split: Path) -> Path | None:
    """The validation split that belongs to a test split, as far as its name tells."""
    if not split.name.startswith("test-"):
        return None
    return split.with_name(split.name.replace("test-", "valid-", 1))


def validation_of(split: Path, folder: Path) -> Path | None:
    """That beside a split; or another one of the folder that asks about all of its users, each at
    an earlier place of their sequence: what a split asks must not be what is learned for it."""
    named = beside(split)
    if (named is not None and named.is_file()) or not split.is_file():
        return named
    asked = _places(split)
    # Of several the last, as tables have it: uniform candidates come before popular ones.
    for file in sorted(folder.glob("valid-*.jsonl"), reverse=True):
        earlier = _places(file)
        if all(earlier.get(user, place) < place for user, place in asked.items()):
            return file
    return named


def expect_earlier(valid: Split, split: Split) -> None:
    """What `valid` shows and asks of a user is all part of the history that `split` shows."""
    asked = {question.user_id: question for question in split.questions}
    for earlier in valid.questions:
        question = asked.get(earlier.user_id)
        if question is None:
            continue
        known = (*earlier.history, valid.targets[earlier.user_id])
        if len(known) > len(question.history) or known[-1] not in question.history:
            raise ConfigurationError(
                f"{valid.name} asks about {question.user_id} at a place that is not before that of "
                f"{split.name}: by it, a method would learn what it is asked. Name another --valid"
            )


def _places(file: Path) -> dict[str, int]:
    """Where in a user's sequence a file asks: of the lines that can be read; whoever reads the file
    for good says what is wrong with others."""
    found = {}
    for _, line in _lines(file):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            found[str(row["user_id"])] = int(row["history_length"])
    return found


def _read_items(file: Path) -> dict[str, str]:
    titles: dict[str, str] = {}
    for number, item_id, title in _rows(file):
        if item_id in titles:
            raise BadLine(file, number, f"item {item_id} has a line already")
        titles[item_id] = title
    return titles


def _read_sequences(file: Path, titles: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    sequences: dict[str, tuple[str, ...]] = {}
    for number, user_id, listed in _rows(file):
        if user_id in sequences:
            raise BadLine(file, number, f"user {user_id} has a line already")
        items = tuple(listed.split())
        for item in items:
            if item not in titles:
                raise BadLine(file, number, f"item {item} is not in {ITEMS}")
        sequences[user_id] = items
    return sequences


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """Behind the line that names the columns."""
    for number, line in _lines(file):
        if number == 1:
            continue
        columns = line.split("\t")
        if len(columns) != 2 or not columns[0]:
            raise BadLine(file, number, "two columns are expected, parted by a tab")
        yield number, columns[0], columns[1]


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise BadLine(file, number, "this is not JSON") from None
    if not isinstance(row, dict):
        raise BadLine(file, number, "an object is expected")
    if missing := [key for key in _KEYS if key not in row]:
        raise BadLine(file, number, f"{', '.join(missing)} missing")
    for key in ("user_id", "target"):
        if not isinstance(row[key], str):
            raise BadLine(file, number, f"{key} must be a string")
    if type(row["history_length"]) is not int or row["history_length"] < 0:
        raise BadLine(file, number, "history_length must be a whole number")
    candidates = row["candidates"]
    if not isinstance(candidates, list) or not all(isinstance(one, str) for one in candidates):
        raise BadLine(file, number, "candidates must be a list of item ids")
    return row


def _question(file: Path, number: int, row: Mapping[str, Any], data: Data) -> Question:
    user_id, length, candidates = row["user_id"], row["history_length"], tuple(row["candidates"])
    sequence = data.sequences.get(user_id)
    if sequence is None:
        raise BadLine(file, number, f"user {user_id} is not in {SEQUENCES}")
    if length > len(sequence):
        raise BadLine(
            file,
            number,
            f"history_length is {length}, but {SEQUENCES} has {len(sequence)} items of {user_id}",
        )
    if not 2 <= len(candidates) <= MOST_CANDIDATES:
        raise BadLine(file, number, f"{len(candidates)} candidates, not 2 to {MOST_CANDIDATES}")
    if len(set(candidates)) < len(candidates):
        raise BadLine(file, number, "a candidate is there twice")
    if unknown := [item for item in candidates if item not in data.titles]:
        raise BadLine(file, number, f"candidate {unknown[0]} is not in {ITEMS}")
    if row["target"] not in candidates:
        raise BadLine(file, number, "the target is not among the candidates")
    history = sequence[:length]
    if row["target"] in history:
        raise BadLine(file, number, "the target is in the history")
    return Question(user_id, history, candidates)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """With their numbers, from 1; empty ones are left out."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode().rstrip("\r\n")
            except UnicodeDecodeError:
                raise BadLine(file, number, "this is not UTF-8") from None
            if text.strip():
                yield number, text


def existing(file: Path) -> Path:
    if not file.is_file():
        raise ConfigurationError(f"there is no file {file}")
    return file


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
