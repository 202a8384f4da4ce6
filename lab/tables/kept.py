"""A row on one candidates file as it is kept: each user's rank, and what the row was made with.

A table is put together from these alone; nothing is asked again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.errors import ConfigurationError


@dataclass(frozen=True)
class KeptRow:
    """`key` names all that a rank can depend on. `engine` and its `fingerprint` are None for a row
    that asks none. `ranks` and `aucs` are by user, in the order of the file."""

    row: str
    candidates: str
    split: str
    key: str
    engine: str | None
    weight: float
    users: tuple[str, ...]
    ranks: tuple[int, ...]
    aucs: tuple[float, ...]
    sizes: tuple[int, ...]
    histories: tuple[int, ...]
    degraded: int
    malformed: int
    seconds: float
    mode: str | None = None
    fingerprint: str | None = None

    @property
    def name(self) -> str:
        return name_of(self.row, self.engine, self.fingerprint, len(self.users))

    def by_user(self) -> dict[str, int]:
        return dict(zip(self.users, self.ranks, strict=True))


def name_of(row: str, engine: str | None, fingerprint: str | None, users: int) -> str:
    """Another engine of the same name, or more users, are kept beside the others."""
    if engine is None:
        return row
    return f"{row}@{_plain(engine)}@{(fingerprint or '')[:12]}-{users}"


def keep(folder: Path, kept: KeptRow) -> None:
    file = folder / kept.split / f"{kept.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(".part")
    whole.write_text(json.dumps(asdict(kept)) + "\n", encoding="utf-8")
    whole.replace(file)


def find(folder: Path, split: str, name: str) -> KeptRow | None:
    file = folder / split / f"{name}.json"
    return _read(file) if file.is_file() else None


def all_kept(folder: Path, split: str) -> list[KeptRow]:
    return [_read(file) for file in sorted((folder / split).glob("*.json"))]


def _read(file: Path) -> KeptRow:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        lists = ("users", "ranks", "aucs", "sizes", "histories")
        return KeptRow(**content | {name: tuple(content[name]) for name in lists})
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{file} cannot be read: delete it, and run its row again"
        ) from None


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-._" else "_" for sign in name)
