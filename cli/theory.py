"""`lrgd lab dual`, `fig8` and the like: experiments on the theory, each with figures and a plot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cli.figures import Figures
from cli.progress import Told
from services.errors import ConfigurationError

if TYPE_CHECKING:
    from lab.dual.experiments.explain import Picture
    from services.prompts import Prompt

OUT = Path("build/figures")
SECONDS = 30.0

Out = Annotated[Path, typer.Option(help="Folder that the plot is written to, as SVG and PNG.")]
Seed = Annotated[int, typer.Option(help="Of all that is drawn.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def install(app: typer.Typer) -> None:
    app.command()(dual)
    app.command()(fig8)
    app.command("kernel-error")(kernel_error)
    app.command()(depth)
    app.command("collapse-theory")(collapse_theory)
    app.command()(influence)
    app.command()(explain)


def dual(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Models of each family and depth.")] = 3,
    prompts: Annotated[int, typer.Option(min=1, help="Of lrgd-mini.")] = 10,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Attention as instruction part plus demonstration part, T + D, on real architectures.

    Tiny models of five families with 1 to 32 layers, and lrgd-mini on its own prompts, against the
    unmodified models' own forward. Needs torch ([bold]make setup-lab[/]).
    """
    from lab.dual.experiments import dual as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab dual", engine="transformers")
    with Told() as told:
        measured, detail = experiment.measure(seeds, prompts, told)
    _save(experiment.draw(detail), out, "dual")
    figures.show(measured, detail, as_json=as_json)


def fig8(
    *,
    draws: Annotated[int, typer.Option(min=1, help="Heads and prompts drawn per panel.")] = 1000,
    seed: Seed = 0,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """The paper's Figure 8: the dual model against attention, token after token.

    Exactly, in the forms A and B and with the paper's fixed c, and by random features; beside them
    what f = 0 and leaving every demonstration out achieve.
    """
    from lab.dual.experiments import fig8 as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab fig8", seed=seed)
    measured, detail = experiment.measure(draws, seed)
    _save(experiment.draw(detail), out, "fig8")
    figures.show(measured, detail, as_json=as_json)


def kernel_error(
    *,
    draws: Annotated[int, typer.Option(min=1, help="Heads and prompts drawn per figure.")] = 100,
    seed: Seed = 0,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """The error of random features: by their number, the head's width, and the logits' scale."""
    from lab.dual.experiments import kernel_error as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab kernel-error", seed=seed)
    with Told() as told:
        measured, detail = experiment.measure(draws, seed, told)
    _save(experiment.draw(detail), out, "kernel-error")
    figures.show(measured, detail, as_json=as_json)


def depth(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Models of each depth.")] = 5,
    prompts: Annotated[int, typer.Option(min=1, help="Of lrgd-mini.")] = 10,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Error by depth: the exact kernel, and random features in its place in every layer."""
    from lab.dual.experiments import depth as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab depth", engine="transformers")
    with Told() as told:
        measured, detail = experiment.measure(seeds, prompts, told)
    _save(experiment.draw(detail), out, "depth")
    figures.show(measured, detail, as_json=as_json)


def collapse_theory(
    *,
    draws: Annotated[int, typer.Option(min=1, help="Heads and prompts drawn.")] = 200,
    seed: Seed = 0,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """What repetition, perturbation (Eq. 16) and regularization (Eq. 17-18) do to the step."""
    from lab.dual.experiments import collapse_theory as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab collapse-theory", seed=seed)
    measured, detail = experiment.measure(draws, seed)
    _save(experiment.draw(detail), out, "collapse-theory")
    figures.show(measured, detail, as_json=as_json)


def influence(
    *,
    prompts: Annotated[int, typer.Option(min=2, help="Of lrgd-mini, each of another user.")] = 200,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each.")] = 2,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Whether cheap scores rank past items and sentences as leaving them out does.

    The score is chosen on one half of the prompts and reported on the other. All correlations are
    Spearman's, within a prompt.
    """
    from lab.dual.experiments import influence as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab influence", engine="lrgd-mini")
    with Told() as told:
        measured, detail = experiment.measure(prompts, processes, told)
    _save(experiment.draw(detail), out, "influence")
    figures.show(measured, detail, as_json=as_json)


def explain(
    *,
    user: Annotated[str, typer.Option(help="Of the catalog; or the number of a generated user.")],
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """The prompt as a picture: what each past item and sentence did for the recommended item.

    By gradients through lrgd-mini, one run for all of them. A user of the catalog is met as
    [bold]lrgd recommend[/] meets one, which needs the database and Redis of a running deployment; a
    number from 1000 on is a generated user, and needs neither.

    [bold]lrgd lab explain --user user-0001[/]

    [bold]lrgd lab explain --user 1000[/]
    """
    from lab.dual.experiments import explain as experiment  # noqa: PLC0415

    figures = Figures("lrgd lab explain", engine="lrgd-mini")
    if user.isdecimal():
        picture = experiment.of_generated_user(int(user))
    else:
        picture = experiment.of_prompt(asyncio.run(_served(user)))
    _save(experiment.draw(picture), out, f"explain-{''.join(c for c in user if c.isalnum())}")
    if as_json:
        detail = {"recommended": picture.recommended, "units": picture.units()}
        figures.show({"logprob": picture.logprob}, detail, as_json=True)
        return
    _print(picture)


async def _served(user: str) -> Prompt:
    """The prompt of the user's recommendation."""
    from services.bootstrap import open_services  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415
    from services.prompts import Mode  # noqa: PLC0415
    from services.recommendations.wanted import Wanted  # noqa: PLC0415
    from services.settings import load_settings  # noqa: PLC0415

    wanted = Wanted(user_id=user, mode=Mode.FIRST_TOKEN, explain=True, deadline_seconds=SECONDS)
    async with open_services(load_settings(), Metrics()) as services:
        given = await services.recommender.recommend(wanted)
    prompt = None if given.explanation is None else given.explanation.prompt
    if prompt is None:
        why = "it was stored: try again in some minutes" if given.stored else given.reason
        raise ConfigurationError(f"the list for {user} was not ranked by the model now: {why}")
    return prompt


def _print(picture: Picture) -> None:
    from lab.dual.experiments.explain import shade, shortened  # noqa: PLC0415

    console = Console()
    console.print(f"log p {picture.logprob:.2f}:", Text(picture.recommended, style="bold"))
    for line in shortened(picture):
        if line.influence is None:
            console.print(Text(line.text, style="dim"))
            continue
        red, green, blue = (int(255 * part) for part in shade(line.influence, picture.strongest))
        console.print(
            Text(f"{line.influence:+.3f} ", style="dim"),
            Text(line.text, style=f"black on #{red:02x}{green:02x}{blue:02x}"),
            sep="",
        )


def _save(figure: Any, out: Path, name: str) -> None:
    from lab.dual.drawing import save  # noqa: PLC0415

    console = Console(stderr=True, soft_wrap=True)
    for file in save(figure, out, name):
        console.print(f"[green]✓[/] {file}")
