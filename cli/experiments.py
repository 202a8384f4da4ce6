"""`lrgd experiments`: settings compared on real users, read and changed in the database."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.settings import load_settings

if TYPE_CHECKING:
    from services.recommendations.arms import Arm, Experiment, NamedExperiment
    from services.recommendations.experiment_report import ArmReport, ExperimentReport
    from services.recommendations.experiments import Experiments
    from services.recommendations.intervals import Estimate

app = typer.Typer(no_args_is_help=True, help="Compare settings on real users.")
Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="ID")]


def _with_experiments(work: Callable[[Experiments], Awaitable[Result]]) -> Result:
    from services.bootstrap import make_model  # noqa: PLC0415
    from services.catalog.positives import PositiveEvents  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415
    from services.recommendations.experiments import Experiments  # noqa: PLC0415
    from services.storage.database import open_database  # noqa: PLC0415

    settings = load_settings()

    async def run() -> Result:
        async with (
            contextlib.aclosing(open_database(settings)) as database,
            contextlib.aclosing(make_model(settings, Metrics())) as model,
        ):
            positives = PositiveEvents.parse(settings.positive_events)
            return await work(Experiments(database, positives, model))

    return asyncio.run(run())


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Show the experiments, the newest first."""
    rows = [_as_json(one) for one in _with_experiments(lambda experiments: experiments.all())]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("experiment", "state", "arms", "started", "stopped")
    for row in rows:
        arms = ", ".join(f"{arm['name']} {arm['share']:.0%}" for arm in row["arms"])
        started, stopped = (
            row[name] and row[name][:19] + "Z" for name in ("made_at", "stopped_at")
        )
        table.add_row(row["experiment_id"], row["state"], arms, started, stopped or "")
    Console().print(table)


@app.command()
def show(
    experiment_id: Name,
    *,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="For the hit rate.")] = 10,
    as_json: AsJson = False,
) -> None:
    """What came of an experiment so far, by arm, with 95 % intervals clustered by user."""
    report = _with_experiments(lambda experiments: experiments.report(experiment_id, k=k))
    if as_json:
        print(json.dumps(report.model_dump(mode="json"), indent=2))
        return
    _print(report)


@app.command()
def start(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help='{"experiment_id", "arms"} as JSON.')
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Start an experiment. Running gateways follow within seconds."""
    named = _read(file)
    started = _with_experiments(
        lambda experiments: experiments.start(named.experiment_id, named.arms)
    )
    _told(started, as_json=as_json)


@app.command()
def stop(experiment_id: Name, *, as_json: AsJson = False) -> None:
    """Serve everybody by the deployment's settings again."""
    _told(_with_experiments(lambda experiments: experiments.stop(experiment_id)), as_json=as_json)


def _read(file: Path) -> NamedExperiment:
    from pydantic import ValidationError  # noqa: PLC0415

    from services.catalog.loaders.reasons import invalid, not_json, parser_complaint  # noqa: PLC0415
    from services.errors import InvalidRequest  # noqa: PLC0415
    from services.recommendations.arms import NamedExperiment  # noqa: PLC0415

    raw = file.read_bytes()
    try:
        return NamedExperiment.model_validate_json(raw)
    except ValidationError as error:
        complaint = parser_complaint(error)
        told = invalid(error) if complaint is None else not_json(raw, complaint)
        raise InvalidRequest(f"{file}: {told} (docs/experiments.md shows one)") from None


def _told(experiment: Experiment, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(experiment), indent=2))
        return
    Console(stderr=True).print(
        f"[green]✓[/] the experiment {experiment.experiment_id} is {experiment.state}"
    )


def _as_json(experiment: Experiment) -> dict[str, Any]:
    stopped = experiment.stopped_at
    return {
        "experiment_id": experiment.experiment_id,
        "state": experiment.state,
        "arms": [arm.model_dump(mode="json") for arm in experiment.arms],
        "made_at": experiment.made_at.isoformat(),
        "stopped_at": stopped and stopped.isoformat(),
    }


def _print(report: ExperimentReport) -> None:
    table = Table(
        "arm", "share", "settings", "users", "lists", "answered",
        f"hit rate@{report.k}", "Effect_D", "hit rate over first", "Effect_D over first",
        title=f"{escape(report.experiment_id)}, {report.state}",
    )  # fmt: skip
    for one in report.arms:
        over = one.over_first
        table.add_row(
            one.arm.name,
            f"{one.arm.share:.0%}",
            _settings(one.arm),
            *_counts(one),
            _estimate(one.hit_rate),
            _estimate(one.effect_d),
            _estimate(None if over is None else over.hit_rate, sign="+"),
            _estimate(None if over is None else over.effect_d, sign="+"),
        )
    Console().print(table)


def _counts(one: ArmReport) -> tuple[str, str, str]:
    return f"{one.users:,}", f"{one.replies:,}", f"{one.answered:,}"


def _settings(arm: Arm) -> str:
    given = arm.model_dump(mode="json", exclude_defaults=True, exclude={"name", "share"})
    return ", ".join(f"{name}={value}" for name, value in given.items()) or "the deployment's"


def _estimate(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{sign}.4f}"
    return f"{estimate.mean:{sign}.4f} ({estimate.low:{sign}.4f} to {estimate.high:{sign}.4f})"
