"""`docs/results.md` and its plots, from what the commands have kept: nothing is run for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.tables.runs import Run
from services.errors import ConfigurationError

TITLES = {
    "table2": "Table 2: recommenders of every kind on the same candidates",
    "table3": "Table 3: the first place alone",
    "table4": "Table 4: the same methods on models of several families",
    "table5": "Table 5: what each part of the method is worth",
    "trials": "Trials: other users, other seeds",
    "fig9": "Figure 9: rounds with and without perturbation",
    "collapse": "Collapse: paths where the optima are known",
    "effect-correlation": "Does Effect_D on validation foretell the test?",
    "effect-correlation-data": "Does Effect_D on validation foretell the test? On real data",
    "drift": "Drift: a user whose taste changes",
    "hallucination": "Hallucination: lists that are written, and what they name",
}
PLOTS = "plots"


def write_report(to: Path, runs: Mapping[str, Run]) -> list[Path]:
    """The document, and the plots in a folder beside it."""
    text = rendered(runs)
    written = [to]
    to.write_text(text, encoding="utf-8")
    for run in _known(runs):
        for name, svg in run.plots.items():
            file = to.parent / PLOTS / f"{name}.svg"
            file.parent.mkdir(exist_ok=True)
            file.write_text(svg, encoding="utf-8")
            written.append(file)
    return written


def rendered(runs: Mapping[str, Run]) -> str:
    known = _known(runs)
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


def _known(runs: Mapping[str, Run]) -> list[Run]:
    return [runs[name] for name in TITLES if name in runs]


def _section(run: Run) -> str:
    plots = "".join(f"\n\n![{name}]({PLOTS}/{name}.svg)" for name in run.plots)
    return f"## {TITLES[run.name]}\n\n```sh\n{run.command}\n```\n\n{run.markdown}{plots}"
