"""`lrgd lab mini`: the small model that ships, trained from nothing and written for engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from lab.mini.training import Progress

SHIPPED = Path(__file__).parents[1] / "services" / "llm" / "lrgd_mini"

app = typer.Typer(
    no_args_is_help=True,
    help="lrgd-mini, the small model that ships: train it, write its files.\n\n"
    "Needs torch (`make setup-lab`).",
)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint, the tokenizer, the log.")],
    *,
    millions: Annotated[
        float, typer.Option(min=0.01, help="Of tokens altogether, before and after interruptions.")
    ] = 50.0,
    seed: Annotated[int, typer.Option(help="Of weights and examples.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU; a GPU is used if found.")] = 1,
    width: Annotated[int, typer.Option(min=64, help="Of the model, a multiple of 64.")] = 192,
    layers: Annotated[int, typer.Option(min=1, help="Of the model.")] = 4,
) -> None:
    """Train on generated users, in the system's own prompts.

    Takes an hour or two on a CPU. It can be interrupted: the same command goes on where the last
    checkpoint was, and with more [bold]--millions[/] a finished training goes on as well. The
    learning rate falls to nothing over the last fifth of the tokens.

    [bold]log.jsonl[/] in the folder has the losses, and how good the model is so far: nDCG@10 by
    labels and by likelihood, without a demonstration (zero_shot) and with a truthful summary of
    older behavior, on users that training does not see. In the losses, [bold]grade[/] and
    [bold]fit[/] are 1 where nothing is known; the grades fall first, then the labels are read.

    [bold]lrgd lab mini train --out /tmp/mini --millions 50 --threads 2[/]
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    from lab.mini.training import Run, Trainer  # noqa: PLC0415

    run = Run(out, round(1e6 * millions), seed=seed, threads=threads, width=width, layers=layers)
    trainer = Trainer(run)
    console = Console(stderr=True)
    if trainer.resume():
        console.print(f"Goes on after {trainer.progress.tokens / 1e6:.1f} M tokens.")
    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("compiles", total=run.tokens)

        def tell(progress: Progress) -> None:
            bar.update(task, completed=progress.tokens, description=_told(progress))

        trainer.train(tell)


@app.command()
def export(
    training: Annotated[Path, typer.Argument(help="The folder that `train --out` has filled.")],
    folder: Annotated[Path, typer.Option("--out", help="Where the files go.")] = SHIPPED,
) -> None:
    """Write a trained model's files, as ONNX Runtime and vLLM read them.

    One file of weights (float16 safetensors) serves both: Hugging Face's config and tokenizer lie
    beside it, and so does the ONNX graph, which refers to it.
    """
    from lab.mini.export import export as write  # noqa: PLC0415

    console = Console(stderr=True)
    for file in write(training, folder):
        console.print(f"[green]✓[/] {file} ({file.stat().st_size:,} bytes)")


def _told(progress: Progress) -> str:
    recent = {name: value for name, value in progress.recent.items() if name != "fits"}
    losses = "  ".join(f"{name} {value:.3f}" for name, value in recent.items())
    return (
        f"{progress.stage}, up to {progress.most} candidates, {progress.tokens / 1e6:.1f} M tokens"
        f"  {losses}"
    )
