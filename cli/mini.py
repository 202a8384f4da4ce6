"""`lrgd lab mini`: the small model that ships, trained from nothing and written for engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from cli.figures import Figures
from cli.progress import Told
from lab.mini.families import Family
from services.prompts import PromptFormat, TemplateName
from services.ranking import Method

if TYPE_CHECKING:
    from lab.mini.training import Course, Progress

DEFAULT_VLLM = Path(".venv-vllm")
SHIPPED = Path(__file__).parents[1] / "services" / "llm" / "lrgd_mini"

# Generated users are always new; those of a data set come round, and are known by heart one day.
SHOP_MILLIONS, DATA_MILLIONS = 50.0, 5.0

app = typer.Typer(
    no_args_is_help=True,
    help="lrgd-mini, the small model that ships: train it, write its files.\n\n"
    "Needs torch (`make setup-lab`).",
)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint, the tokenizer, the log.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of evaluation files: learn the titles that its users chose."),
    ] = None,
    millions: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Of tokens altogether, before and after interruptions.",
            show_default=f"{SHOP_MILLIONS:g}; with --data {DATA_MILLIONS:g}",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights and examples.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU; a GPU is used if found.")] = 1,
    family: Annotated[
        Family, typer.Option(help="Architecture of the model and of its files.")
    ] = Family.LLAMA,
    width: Annotated[int, typer.Option(min=64, help="Of the model, a multiple of 64.")] = 192,
    layers: Annotated[int, typer.Option(min=1, help="Of the model.")] = 4,
) -> None:
    """Train on generated users, in the system's own prompts.

    With [bold]--data[/], on the users of a data set (the files of [bold]lrgd lab evaluate[/])
    instead, but for those whom its candidates files ask about, and for the two newest items of
    everybody else. Such a model ranks by likelihood; it does not know labels.

    Takes an hour or two on a CPU; on a data set of 50,000 users a quarter of an hour. It can be
    interrupted: the same command goes on where the last checkpoint was, and with more
    [bold]--millions[/] a finished training goes on as well. The learning rate falls to nothing
    over the last fifth of the tokens.

    [bold]log.jsonl[/] in the folder has the losses, and how good the model is so far: nDCG@10 by
    labels and by likelihood, without a demonstration (zero_shot) and with a truthful summary of
    older behavior, on users that training does not see. In the losses, [bold]grade[/] and
    [bold]fit[/] are 1 where nothing is known; the grades fall first, then the labels are read.
    With [bold]--data[/] it is nDCG@10 by likelihood on validation targets: brief while lives alone
    are taught, zero_shot when whole prompts are.

    [bold]lrgd lab mini train --out /tmp/mini --threads 2[/]

    [bold]lrgd lab mini train --out build/games-lm --data games[/]

    [bold]--family[/] is for comparing architectures that are taught alike ([bold]lrgd lab
    table4[/]): qwen2 has biases on queries, keys and values; phi3 and mistral compute what llama
    computes, in other files, so they are other models only with another [bold]--seed[/].

    [bold]lrgd lab mini train --out build/games-qwen2 --data games --family qwen2[/]
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from lab.mini.shop_course import ShopCourse  # noqa: PLC0415
    from lab.mini.training import Run, Trainer  # noqa: PLC0415

    usual = SHOP_MILLIONS if data is None else DATA_MILLIONS
    run = Run(
        out, round(1e6 * (millions or usual)), seed=seed, threads=threads, family=family,
        width=width, layers=layers,
    )  # fmt: skip
    course = ShopCourse(out) if data is None else _in_domain(data, out, run.tokens)
    trainer = Trainer(run, course)
    console = Console(stderr=True)
    if trainer.resume():
        console.print(f"Goes on after {trainer.progress.tokens / 1e6:.1f} M tokens.")
    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("compiles", total=run.tokens)

        def tell(progress: Progress) -> None:
            bar.update(task, completed=progress.tokens, description=_told(progress))

        trainer.train(tell)


def _in_domain(data: Path, out: Path, tokens: int) -> Course:
    from lab.mini.in_domain.course import InDomainCourse  # noqa: PLC0415
    from lab.mini.in_domain.shoppers import Shoppers  # noqa: PLC0415

    return InDomainCourse(Shoppers.of(data), out, tokens)


@app.command()
def export(
    training: Annotated[Path, typer.Argument(help="The folder that `train --out` has filled.")],
    folder: Annotated[Path, typer.Option("--out", help="Where the files go.")] = SHIPPED,
) -> None:
    """Write a trained model's files, as ONNX Runtime and vLLM read them.

    One file of weights (float16 safetensors) serves both: Hugging Face's config and tokenizer lie
    beside it, and so does the ONNX graph, which refers to it. [bold]card.json[/] says which prompts
    the model was taught: with others the services refuse it.
    """
    from lab.mini.export import export as write  # noqa: PLC0415

    console = Console(stderr=True)
    for file in write(training, folder):
        console.print(f"[green]✓[/] {file} ({file.stat().st_size:,} bytes)")


@app.command()
def evaluate(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users to rank for.")] = 1000,
    folder: Annotated[Path, typer.Option(help="Of the model's files.")] = SHIPPED,
    template: Annotated[
        TemplateName, typer.Option(help="In which prompts are ranked.")
    ] = TemplateName.PREFIX_CACHED,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each.")] = 2,
    vllm: Annotated[
        Path | None,
        typer.Option(help="Environment with vLLM, to ask a real server, too. Default: .venv-vllm."),
    ] = None,
    vllm_users: Annotated[int, typer.Option(min=2, help="Of them, those vLLM ranks for.")] = 100,
    out: Annotated[
        Path, typer.Option(help="Where the answers of each user are kept; a second call goes on.")
    ] = Path("build/mini-evaluation"),
    write_card: Annotated[
        bool, typer.Option(help="Write the figures into the model card in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How well the model ranks a user's next choice among 50 items, from less or more.

    Users are fresh; the 49 others are drawn uniformly from what the user never took. Random is
    .091. Conditions, all in the default mode:

    [bold]nothing[/]: no history, no demonstration. [bold]zero_shot[/]: the template's window of
    history. [bold]zero_shot_long[/]: and older history, as many tokens as a demonstration may have.
    [bold]oracle_demo[/]: a truthful summary of what lies before the window.
    [bold]other_users_demo[/]: the summary of somebody else. [bold]generated[/]: a demonstration
    that the model has written, unselected.

    [bold]lrgd lab mini evaluate --users 50[/]   a first look
    """
    from lab.mini.evaluation import Evaluation  # noqa: PLC0415
    from lab.mini.evaluation import evaluate as measure  # noqa: PLC0415

    console = Console(stderr=True)
    environment = vllm or (DEFAULT_VLLM if DEFAULT_VLLM.exists() else None)
    if environment is not None and not (environment / "bin" / "python").exists():
        raise typer.BadParameter(f"{environment} is no Python environment", param_hint="--vllm")
    if environment is None:
        console.print(
            f"[yellow]![/] no vLLM: {DEFAULT_VLLM} is not there (`make test-vllm` makes it), "
            "so its figures are left out"
        )
    evaluation = Evaluation(
        folder,
        out,
        users=users,
        processes=processes,
        vllm=environment,
        vllm_users=min(users, vllm_users),
        method=Method(PromptFormat(template=template)),
    )
    figures = Figures("lrgd lab mini evaluate", engine="lrgd-mini")
    with Told() as told:
        measured, detail = measure(evaluation, told)
    if write_card:
        from lab.mini.card import write_quality  # noqa: PLC0415

        write_quality(folder, measured)
    if not as_json:
        _print_conditions(detail)
    figures.show(measured, detail, as_json=as_json)


def _print_conditions(detail: dict[str, Any]) -> None:
    for engine in ("onnx", "vllm"):
        if engine not in detail:
            continue
        table = Table(
            "condition", "nDCG@10", "95 %", "times random", "over zero_shot", "p",
            title=f"{engine}, one true item among 50",
        )  # fmt: skip
        for row in detail[engine]:
            low, high = row["interval"]
            table.add_row(
                row["condition"], f"{row['ndcg@10']:.3f}", f"{low:.3f} to {high:.3f}",
                f"{row['times_random']:.2f}", f"{row['over_zero_shot']:+.3f}", f"{row['p']:.4f}",
            )  # fmt: skip
        Console().print(table)


def _told(progress: Progress) -> str:
    recent = {name: value for name, value in progress.recent.items() if name != "fits"}
    losses = "  ".join(f"{name} {value:.3f}" for name, value in recent.items())
    return (
        f"{progress.stage}, up to {progress.most} candidates, {progress.tokens / 1e6:.1f} M tokens"
        f"  {losses}"
    )
