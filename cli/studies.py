"""`lrgd lab fig9`, `collapse` and the like: each keeps what it printed for the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from cli.figures import Figures

OUT = Path("build/tables")


@dataclass(frozen=True)
class Shown:
    """What a study has found, for people and for the report. `notes` say what limits it."""

    figures: Mapping[str, float]
    detail: Mapping[str, Any]
    markdown: str
    plots: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def install(app: typer.Typer) -> None:
    """Adds every study to `lrgd lab`."""


def show(name: str, shown: Shown, figures: Figures, out: Path, *, as_json: bool) -> None:
    from lab.tables.runs import Run, command_line, write_run  # noqa: PLC0415

    run = Run(name, command_line(sys.argv), shown.markdown, shown.figures, shown.notes, shown.plots)
    write_run(out, run)
    figures.show(shown.figures, shown.detail, as_json=as_json)
