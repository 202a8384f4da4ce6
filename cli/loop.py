"""`lrgd lab loop`: what rounds of m-PDO are worth, arm against arm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.figures import Figures
from cli.progress import Told
from lab.embedded import EMBEDDED
from lab.loop.names import ArmName, CandidatesFrom


def loop(
    *,
    users: Annotated[int, typer.Option(min=2, help="Fresh users of the generated shop.")] = 200,
    first: Annotated[
        int, typer.Option(min=0, help="Pass over so many: others than were looked at before.")
    ] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Of three paths each.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every learning arm.")] = 1,
    full: Annotated[
        bool, typer.Option("--full", help="1,000 users, 8 rounds, 3 seeds: a day of two cores.")
    ] = False,
    arm: Annotated[list[ArmName] | None, typer.Option(help="Only these arms.")] = None,
    candidates: Annotated[
        CandidatesFrom,
        typer.Option(help="Held-out and test events are told from these."),
    ] = CandidatesFrom.RETRIEVAL,
    held_out: Annotated[
        int, typer.Option(min=1, help="w: newest positives that judge, at most.")
    ] = 3,
    draws: Annotated[int, typer.Option(min=1, help="K: candidate sets for each.")] = 2,
    engine: Annotated[
        str, typer.Option(help="`onnx`, a folder of a model, or a server's URL.")
    ] = EMBEDDED,
    model: Annotated[str | None, typer.Option(help="The model that the server serves.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each.")] = 2,
    out: Annotated[
        Path, typer.Option(help="Keeps everything; a second call goes on, or only tells.")
    ] = Path("build/loop"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn on fresh users and test on their newest choice, which nothing that learns has read.

    [bold]zero_shot[/], [bold]zero_shot_long[/], [bold]zero_shot_longer[/]: no demonstration; its
    tokens, or those of two, spent on older history. [bold]generated[/], [bold]generated_pair[/]:
    one demonstration, or two, unselected. [bold]best_of_n[/]: as many independent ones as pdo3
    writes, the best on the held-out events. [bold]pdo1[/]: one path, as many rounds as pdo3 writes
    texts. [bold]pdo3[/]: three paths; [bold]pdo3_no_perturbation[/]: that never perturb each other.
    [bold]reveals_validation[/]: the generator sees the held-out events (an ablation).

    [bold]lrgd lab loop --users 20 --rounds 2[/]   a first look
    """
    from lab.engines import EngineChoice  # noqa: PLC0415
    from lab.loop.figures import loop_figures  # noqa: PLC0415
    from lab.loop.loop import Loop, run_loop  # noqa: PLC0415

    wanted = Loop(
        out,
        users=1000 if full else users,
        first=first,
        rounds=8 if full else rounds,
        seeds=3 if full else seeds,
        arms=tuple(arm) if arm else tuple(ArmName),
        candidates=candidates,
        held_out=held_out,
        draws=draws,
        engine=EngineChoice(engine, model),
        processes=processes,
    )
    figures = Figures("lrgd lab loop", engine=engine)
    with Told() as told:
        run_loop(wanted, told)
    measured, detail = loop_figures(wanted)
    if not as_json:
        _print(detail)
    figures.show(measured, detail, as_json=as_json)


def _print(detail: dict[str, Any]) -> None:
    table = Table(
        "arm", "nDCG@10", "95 %", "tokens per user", "similarity", "accepted",
        title=f"{detail['users']} users, one true item among 50",
    )  # fmt: skip
    for row in detail["arms"]:
        low, high = row["interval"]
        table.add_row(
            row["arm"], f"{row['ndcg@10']:.3f}", f"{low:.3f} to {high:.3f}",
            f"{row['tokens']:,.0f}" if "tokens" in row else "",
            f"{row['similarity']:.2f}" if "similarity" in row else "",
            f"{row['accepted']:.2f}" if "accepted" in row else "",
        )  # fmt: skip
    Console().print(table)
    if "pdo3_against" not in detail:
        return
    against = Table("pdo3 against", "difference", "95 %", "ratio", "p")
    for row in detail["pdo3_against"]:
        low, high = row["interval"]
        against.add_row(
            row["arm"], f"{row['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}",
            f"{row['ratio']:.3f}", f"{row['p']:.4f}",
        )  # fmt: skip
    Console().print(against)
