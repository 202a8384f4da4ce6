"""What a folder of evaluation files holds: the columns of Table 1, and whether it is still the
split that was made."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from lab.evaluation.files import read_data, read_split
from lab.tables.data.splitting import MANIFEST, hash_of
from services.errors import ConfigurationError


def describe(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Raises ConfigurationError where a file is not the one that was written."""
    manifest = _checked(folder)
    data = read_data(folder)
    lengths = [len(items) for items in data.sequences.values()]
    taken = {item for items in data.sequences.values() for item in items}
    figures = {
        "users": float(len(data.sequences)),
        "items": float(len(data.titles)),
        "interactions": float(sum(lengths)),
        "sparsity": 1 - sum(lengths) / (len(lengths) * len(data.titles)),
        "length.mean": statistics.fmean(lengths),
        "length.median": float(statistics.median(lengths)),
        "items.never_taken": float(len(data.titles) - len(taken)),
        "titles.empty": float(sum(not title.strip() for title in data.titles.values())),
    }
    files = []
    for file in sorted(folder.glob("*.jsonl")):
        split = read_split(file, data)
        histories = [len(question.history) for question in split.questions]
        files.append(
            {
                "file": file.name,
                "users": len(histories),
                "candidates": statistics.fmean(len(one.candidates) for one in split.questions),
                "history.median": statistics.median(histories),
                "history.under_8": sum(length < 8 for length in histories) / len(histories),
                "digest": split.digest,
            }
        )
    if manifest is not None:
        ties = manifest["ties"]
        figures["ties.pairs"] = ties["pairs"] / max(1, ties["of_pairs"])
        figures["ties.targets"] = ties["targets"] / max(1, ties["of_users"])
    return figures, {"digest": data.digest, "files": files, "split": manifest}


def _checked(folder: Path) -> dict[str, Any] | None:
    """None for files that somebody else has made: there is nothing to check them by."""
    file = folder / MANIFEST
    if not file.is_file():
        return None
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for name, written in manifest["files"].items():
        if not (folder / name).is_file() or hash_of(folder / name) != written:
            raise ConfigurationError(
                f"{folder / name} is not the file that was written with this split: figures made "
                f"on it cannot be compared. Copy the split anew, or make one in another folder"
            )
    return manifest
