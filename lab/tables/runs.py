"""What the tables' commands have printed, kept for the report: the command beside each table."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """`notes` say what limits the figures: they open the report. `plots`: SVG documents by name."""

    name: str
    command: str
    markdown: str
    figures: Mapping[str, float]
    notes: Sequence[str] = ()
    plots: Mapping[str, str] = field(default_factory=dict)


def write_run(out: Path, run: Run) -> None:
    folder = out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{run.name}.json").write_text(json.dumps(asdict(run)) + "\n", encoding="utf-8")


def read_runs(out: Path) -> dict[str, Run]:
    found = {}
    for file in sorted((out / "runs").glob("*.json")):
        run = Run(**json.loads(file.read_text(encoding="utf-8")))
        found[run.name] = run
    return found


def command_line(arguments: Sequence[str]) -> str:
    """As anybody would type it: how it is printed is left out, and where on this machine other
    folders lie."""
    shown = [one for one in arguments[1:] if one not in ("--json", "--markdown")]
    return shlex.join(["lrgd", *map(_without_machine, shown)])


def _without_machine(argument: str) -> str:
    """What stands before the path, as in NAME=PATH, stays."""
    before, sign, path = argument.rpartition("=")
    if "://" in argument or not path.startswith(("/", "..", "~")):
        return argument
    return f"{before}{sign}{Path(path).name}"
