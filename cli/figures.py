"""Figures as data: every command that prints figures prints them as one JSON object with --json."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]


class Figures:
    """The figures of one command, printed as a table for people or as JSON for programs."""

    def __init__(self, command: str, *, seed: int = 0, engine: str | None = None) -> None:
        self.command = command
        self.seed = seed
        self.engine = engine
        self._began = time.monotonic()

    def show(
        self, figures: Mapping[str, float], detail: Mapping[str, Any], *, as_json: bool
    ) -> None:
        if as_json:
            print(json.dumps(self._object(figures, detail), indent=2))
            return
        table = Table("figure", "value", title=self.command)
        for name, value in figures.items():
            table.add_row(name, f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}")
        Console().print(table)

    def _object(self, figures: Mapping[str, float], detail: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "command": self.command,
            "version": _version(),
            "seed": self.seed,
            "engine": self.engine,
            "seconds": round(time.monotonic() - self._began, 3),
            "figures": dict(figures),
            "detail": dict(detail),
        }


def _version() -> str:
    """`git describe` where there is a checkout, else the version of the package."""
    described = subprocess.run(  # noqa: S603
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--tags"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if described.returncode == 0:
        return described.stdout.strip()
    from importlib.metadata import version  # noqa: PLC0415

    return version("lrgd")
