"""`lrgd lab fig9`, `collapse` and the like: each keeps what it printed for the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.figures import Figures
from cli.progress import Told
from cli.table_options import OUT, ApiKey, AsJson, AtOnce
from cli.table_shown import keep_run
from lab.embedded import EMBEDDED
from services.prompts import Mode

if TYPE_CHECKING:
    from lab.engines import EngineChoice
    from lab.evaluation.evaluation import Watch

T = TypeVar("T")

Engine = Annotated[str, typer.Option(help="`onnx`, a folder of a model, or a server's URL.")]
Model = Annotated[str | None, typer.Option(help="The model that the server serves.")]
First = Annotated[int, typer.Option(min=0, help="Pass over so many users.")]
Out = Annotated[Path, typer.Option(help="Keeps what is printed, for the report.")]
Work = Annotated[
    Path, typer.Option(help="Keeps databases and results; a second call goes on, or only tells.")
]
WORK = Path("build/studies")


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
    app.command("effect-correlation")(effect_correlation)
    app.command()(drift)
    app.command()(hallucination)


def show(name: str, shown: Shown, figures: Figures, out: Path, *, as_json: bool) -> None:
    keep_run(out, name, shown.markdown, shown.figures, shown.notes, plots=shown.plots)
    figures.show(shown.figures, shown.detail, as_json=as_json)


def effect_correlation(
    *,
    users: Annotated[int, typer.Option(min=3, help="Of the shop, or of the folder's file.")] = 12,
    first: First = 0,
    texts: Annotated[int, typer.Option(min=3, help="Generated of each user, unselected.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Whose texts are judged, too.")] = 3,
    data: Annotated[
        Path | None, typer.Option(help="Folder of candidates files; left out: the shop.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the model is asked to rank.")] = Mode.FIRST_TOKEN,
    full: Annotated[bool, typer.Option("--full", help="200 users, 4 rounds.")] = False,
    engine: Engine = EMBEDDED,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    out: Out = OUT,
    work: Work = WORK,
    as_json: AsJson = False,
) -> None:
    """Does Effect_D of a demonstration on validation foretell its Effect_D on the test?

    Every text of a user is judged on each held-out event and on the test, which nothing here
    selects by: rank correlations within users against the same shuffled, between users, and by how
    many held-out events judge.
    """
    from cli import study_plots as plots  # noqa: PLC0415
    from lab.tables.studies.foretelling import figures as told_of  # noqa: PLC0415
    from lab.tables.studies.foretelling import study  # noqa: PLC0415

    asked = study.EffectCorrelation(
        work, 200 if full else users, texts, 4 if full else rounds, first, data,
        engine_choice(engine, model, api_key, at_once), mode,
    )  # fmt: skip
    figures = Figures("lrgd lab effect-correlation", engine=model or engine)
    found, detail = told_of.figures_of(_collected(study.collect, asked))
    said = told_of.markdown(asked.source, found, detail)
    notes = limits("The study of validation and test", asked.source, asked.users, model or engine)
    name = "effect-correlation" if data is None else "effect-correlation-data"
    shown = Shown(found, detail, said, {name: plots.effect_correlation(detail)}, notes)
    show(name, shown, figures, out, as_json=as_json)


def drift(
    *,
    users: Annotated[int, typer.Option(min=2, help="Of the generated shop.")] = 8,
    first: First = 0,
    before: Annotated[int, typer.Option(min=2, help="Events asked about before the change.")] = 6,
    after: Annotated[int, typer.Option(min=4, help="The last event asked about.")] = 12,
    rounds: Annotated[int, typer.Option(min=1, help="Of learning before the stream.")] = 2,
    every: Annotated[int, typer.Option(min=1, help="New events before another round.")] = 3,
    full: Annotated[bool, typer.Option("--full", help="100 users, to event 18.")] = False,
    engine: Engine = EMBEDDED,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    out: Out = OUT,
    work: Work = WORK,
    as_json: AsJson = False,
) -> None:
    """A user whose taste changes at a known event: who notices, and when.

    For every next event of a stream: [bold]zero_shot[/], [bold]static[/], a demonstration learned
    before the change, and [bold]lrgd[/], with a round after every few new events. The same users
    without the change are the control. No event is recorded before it was asked about.
    """
    from cli import study_plots as plots  # noqa: PLC0415
    from lab.tables.studies.drift import figures as told_of  # noqa: PLC0415
    from lab.tables.studies.drift import study  # noqa: PLC0415

    asked = study.Drift(
        work, 100 if full else users, first, before=before, after=18 if full else after,
        every=every, first_rounds=rounds,
        engine=engine_choice(engine, model, api_key, at_once),
    )  # fmt: skip
    figures = Figures("lrgd lab drift", engine=model or engine)
    found, detail = told_of.figures_of(_collected(study.collect, asked))
    said = told_of.markdown(found, detail)
    notes = limits("The study of drift", "shop", asked.users, model or engine)
    shown = Shown(found, detail, said, {"drift": plots.drift(detail)}, notes)
    show("drift", shown, figures, out, as_json=as_json)


def hallucination(
    *,
    users: Annotated[int, typer.Option(min=3, help="Of the generated shop.")] = 12,
    first: First = 0,
    texts: Annotated[int, typer.Option(min=1, help="Generated of each user, unselected.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Before the served text is shown.")] = 2,
    full: Annotated[bool, typer.Option("--full", help="200 users, 4 rounds.")] = False,
    engine: Engine = EMBEDDED,
    model: Model = None,
    api_key: ApiKey = None,
    at_once: AtOnce = 8,
    out: Out = OUT,
    work: Work = WORK,
    as_json: AsJson = False,
) -> None:
    """Lists that are written freely: what they name that was no candidate, and does it go with
    Effect_D?

    With no demonstration, generated ones, the served one and another user's; with X_T_reg and
    without; under a structure, which makes it impossible, and freely; warmer, among few candidates,
    and with candidates not shown at all. Read strictly, and by the substring rule of earlier work.
    """
    from cli import study_plots as plots  # noqa: PLC0415
    from lab.tables.studies.hallucination import figures as told_of  # noqa: PLC0415
    from lab.tables.studies.hallucination import study  # noqa: PLC0415

    asked = study.Hallucination(
        work, 200 if full else users, first, 4 if full else rounds, texts,
        engine=engine_choice(engine, model, api_key, at_once),
    )  # fmt: skip
    figures = Figures("lrgd lab hallucination", engine=model or engine)
    found, detail = told_of.figures_of(_collected(study.collect, asked))
    said = told_of.markdown(found, detail)
    notes = limits("The study of lists", "shop", asked.users, model or engine)
    shown = Shown(found, detail, said, {"hallucination": plots.hallucination(detail)}, notes)
    show("hallucination", shown, figures, out, as_json=as_json)


def _collected(
    collect: Callable[[T, Watch], Coroutine[Any, Any, list[dict[str, Any]]]], asked: T
) -> list[dict[str, Any]]:
    from lab.evaluation.evaluation import Watch  # noqa: PLC0415

    with Told() as told:
        return asyncio.run(collect(asked, Watch(told, told.say)))


def engine_choice(
    engine: str, model: str | None, api_key: str | None, at_once: int
) -> EngineChoice:
    from lab.engines import EngineChoice  # noqa: PLC0415

    return EngineChoice(engine, model, api_key, at_once)


def limits(study: str, source: str, users: int, engine: str) -> list[str]:
    """What opens the report."""
    name = "lrgd-mini" if engine == EMBEDDED else engine
    return [
        f"{study} was made with {name} on {users:,} users of {source}: another model may order its "
        "rows otherwise."
    ]
