"""`lrgd bench`: figures about speed, measured on this machine."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.figures import Figures
from services.errors import ConfigurationError

DEFAULT_VLLM = Path(".venv-vllm")

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.callback()
def bench() -> None:
    """Measure this machine: real processes, real databases, figures as a table or as JSON."""


@app.command()
def ingest(
    *,
    events: Annotated[
        int, typer.Option(min=20, help="Events in the file. Peak memory is compared with a tenth.")
    ] = 200_000,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Longest time to send to an endpoint, per run.")
    ] = 5.0,
    runs: Annotated[int, typer.Option(min=1, help="Figures are medians over so many runs.")] = 3,
    cores: Annotated[
        int, typer.Option(min=1, help="Cores for everything together: databases, clients, us.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Of the generated events.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            writable=True,
            resolve_path=True,
            help="Where databases and files lie meanwhile: a folder on the disk to measure. "
            "Default: the one for temporary files.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How fast events come in: through `lrgd import` and through POST /events.

    It starts a PostgreSQL that writes durably (fsync on), a Valkey and, for the
    endpoint, a gateway, and leaves nothing behind. Each run has fresh databases.
    What they hold afterwards is counted: without its events, no figure.

    [bold]import.*.events_per_s[/]: the whole command, its start included.
    Users and items are made on the way.

    [bold]import.rss_growth[/]: peak memory of an import over that of a tenth of
    the file, on the database where it grows more.

    [bold]endpoint.events_per_s[/]: batches of 500 from 4 clients into PostgreSQL;
    [bold]endpoint.sqlite[/] into SQLite, [bold]single[/] with one event a request.

    Other work on the machine lowers the rates, but hardly changes
    [bold]cpu_us_per_event[/]: what the import command itself takes.

    A first look: [bold]lrgd bench ingest --events 20000 --runs 1[/]
    """
    with _needs_setup_dev():
        from lab.bench.ingest import Plan, measure  # noqa: PLC0415
    plan = Plan(
        folder=folder or Path(tempfile.gettempdir()),
        events=events,
        seconds=seconds,
        runs=runs,
        cores=cores,
        seed=seed,
    )
    figures = Figures("lrgd bench ingest", seed=seed)
    with _ended_in_order(), _steps(plan.steps) as told:
        found, detail = measure(plan, told)
    figures.show(found, detail, as_json=as_json)


@app.command()
def recommend(
    *,
    engine: Annotated[
        str,
        typer.Option(
            help="`onnx` (lrgd-mini), a folder of another ONNX model, `vllm` (lrgd-mini on a vLLM "
            "of our own), or a server's URL."
        ),
    ] = "onnx",
    model: Annotated[str | None, typer.Option(help="Which model that server serves.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="LRGD_LLM_API_KEY", help="Of that server.")
    ] = None,
    vllm: Annotated[
        Path, typer.Option(help="Python environment with vLLM; `make test-vllm` makes one.")
    ] = DEFAULT_VLLM,
    requests: Annotated[
        int, typer.Option(min=2, help="Of each mode, cache and number of clients, in each round.")
    ] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Figures are medians over so many.")] = 3,
    users: Annotated[
        int, typer.Option(min=1000, help="Of the larger store; the smaller has 1,000.")
    ] = 1_000_000,
    lookups: Annotated[int, typer.Option(min=100, help="In each of the two stores.")] = 20_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: few of everything, 20,000 users.")
    ] = False,
    cores: Annotated[
        int, typer.Option(min=1, help="Cores for everything together: servers, clients, us.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Of users, candidates and orders.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How fast a recommendation is: the engine, the gateway around it, and what it falls back to.

    It starts what it measures: Valkeys, gateways, with [bold]--engine vllm[/] a vLLM of lrgd-mini;
    and leaves nothing behind.

    [bold]<mode>.<cache>.*[/]: a ranking of 50 candidates by the engine alone. [bold]cold[/]:
    nothing of the prompt is cached. [bold]cached[/]: instruction, demonstration and history are,
    the candidates are fresh. p50 and p99 with one client, [bold]rps8[/] with eight; the detail has
    1, 8 and 32. No server has likelihood: beside one it is that of lrgd-mini in this process.

    [bold]ratio.*[/]: p50 of generate (exactly 10 labels) over that of first_token.

    [bold]overhead.*[/]: POST /recommend over the same prompts put to the engine directly,
    interleaved; the difference in ms, and requests a second by eight clients.

    [bold]fallback.p99_ms[/]: POST /recommend while the model is down.

    [bold]store.*[/]: p99 of a user's look-up among a million over that among a thousand, and the
    memory that a million take.

    A first look: [bold]lrgd bench recommend --quick[/]
    """
    with _needs_setup_dev():
        from lab.bench.contenders import VLLM  # noqa: PLC0415
        from lab.bench.recommend import Plan, measure  # noqa: PLC0415
        from lab.engines import EngineChoice  # noqa: PLC0415
    plan = Plan(
        engine=None if engine == VLLM else EngineChoice(engine, model, api_key, at_once=64),
        vllm=vllm,
        requests=requests,
        rounds=rounds,
        shop_users=300,
        fallbacks=2000,
        kept_users=users,
        lookups=lookups,
        cores=cores,
        seed=seed,
    )
    figures = Figures("lrgd bench recommend", seed=seed, engine=engine)
    with _ended_in_order(), _steps(plan.steps) as told:
        found, detail = measure(plan.quick() if quick else plan, told)
    figures.show(found, detail, as_json=as_json)


@app.command()
def optimize(
    *,
    engine: Annotated[
        str,
        typer.Option(
            help="`scripted` (answers by rule, takes time by its latency model), or `vllm` "
            "(lrgd-mini on a vLLM of our own)."
        ),
    ] = "scripted",
    vllm: Annotated[
        Path, typer.Option(help="Python environment with vLLM; `make test-vllm` makes one.")
    ] = DEFAULT_VLLM,
    users: Annotated[int, typer.Option(min=1, max=60, help="For each worker.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Of each of them.")] = 2,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: shorter rounds, and fewer.")
    ] = False,
    cores: Annotated[
        int, typer.Option(min=1, help="Cores for everything together: servers, workers, us.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the runs.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How fast users learn, and what a user-round costs.

    It starts what it measures: a PostgreSQL, a Valkey, workers, and their engines; and leaves
    nothing behind. The scripted engine takes time by its latency model (16 slots, prefix cache),
    the same on every machine: what is measured is what ledger, queue and workers make of it.

    [bold]speedup.wall[/]: a worker with 8 users in flight over one call in flight.

    [bold]workers2[/], [bold]workers4.speedup[/]: so many workers with 8 users in flight each over
    one. Each has a scripted engine of its own: one alone keeps its 16 slots busy, as the detail
    shows. With [bold]--engine vllm[/] they share one vLLM.

    [bold]user_round.*[/]: a round of a user of the sample shop on lrgd-mini, m = 3, on average
    over 4 rounds.

    A first look: [bold]lrgd bench optimize --quick[/]
    """
    with _needs_setup_dev():
        from lab.bench.optimize import EngineName, Plan, measure  # noqa: PLC0415
        from services.optimizer.plan import Plan as Learning  # noqa: PLC0415
    if engine not in list(EngineName):
        raise typer.BadParameter(f"one of {', '.join(EngineName)}", param_hint="--engine")
    plan = Plan(
        engine=EngineName(engine),
        vllm=vllm,
        users=users,
        rounds=rounds,
        alone=1,
        measured=8,
        measured_rounds=4,
        cores=cores,
        learning=Learning(seed=seed),
    )
    figures = Figures("lrgd bench optimize", seed=seed, engine=engine)
    with _ended_in_order(), _steps(plan.steps) as told:
        found, detail = measure(plan.quick() if quick else plan, told)
    figures.show(found, detail, as_json=as_json)


@contextlib.contextmanager
def _needs_setup_dev() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`lrgd bench` needs {error.name}, which serving does not: run `make setup-dev`"
        ) from None


@contextlib.contextmanager
def _steps(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error; it is told each step as that begins."""
    with _progress() as progress:
        task = progress.add_task("", total=total)

        def told(step: str) -> None:
            begun = progress.tasks[task].description != ""
            progress.update(task, description=step, advance=1 if begun else 0)

        yield told


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM, too, ends the servers and removes their data."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress() -> Progress:
    return Progress(
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
