"""Which files of a folder are asked about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.evaluation.files import beside
from services.errors import ConfigurationError


@dataclass(frozen=True)
class CandidatesFile:
    """`test-NAME-….jsonl` and the validation file beside it."""

    name: str
    test: Path
    valid: Path


def candidates_files(folder: Path) -> list[CandidatesFile]:
    pairs = [(test, beside(test)) for test in sorted(folder.glob("test-*.jsonl"), reverse=True)]
    there = [(test, valid) for test, valid in pairs if valid is not None and valid.is_file()]
    short = [test.stem.split("-")[1] for test, _ in there]
    found = [
        CandidatesFile(
            name if short.count(name) == 1 else test.stem.removeprefix("test-"), test, valid
        )
        for name, (test, valid) in zip(short, there, strict=True)
    ]
    if not found:
        raise ConfigurationError(
            f"--data: {folder} has no test-*.jsonl with a valid-*.jsonl beside it"
        )
    return found
