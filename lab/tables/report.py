"""`docs/results.md`, from what the tables' commands have kept: nothing is run for it."""

from __future__ import annotations

from collections.abc import Mapping

from lab.tables.runs import Run
from services.errors import ConfigurationError

TITLES = {
    "table2": "Table 2: recommenders of every kind on the same candidates",
    "table5": "Table 5: what each part of the method is worth",
}


def rendered(runs: Mapping[str, Run]) -> str:
    known = [runs[name] for name in TITLES if name in runs]
    if not known:
        raise ConfigurationError(
            "no table has been run yet: `lrgd lab table2 --data FOLDER` is the first"
        )
    limits = list(dict.fromkeys(note for run in known for note in run.notes))
    parts = [
        "# Results",
        "\n".join(limits),
        "Written by `lrgd lab report` from runs that are kept. What the columns mean, what a "
        "method may read and how ties fall is in [evaluation](evaluation.md), what each row is in "
        "[baselines](baselines.md).",
        *(_section(run) for run in known),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _section(run: Run) -> str:
    return f"## {TITLES[run.name]}\n\n```sh\n{run.command}\n```\n\n{run.markdown}"
