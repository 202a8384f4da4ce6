"""`lrgd lab evaluate`: one method on one file of questions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.figures import Figures
from cli.progress import Told
from lab.embedded import EMBEDDED
from lab.evaluation.methods import METHODS, MethodName
from services.errors import ConfigurationError
from services.prompts import Mode, PromptFormat, TemplateName
from services.ranking import Method

FITTED = "fit"
_METRICS = ("ndcg@1", "ndcg@10", "recall@10", "effect_d", "gauc")


def evaluate(
    split: Annotated[
        Path, typer.Option(help="File of questions, one user in a line; or its name in --data.")
    ],
    method: Annotated[MethodName, typer.Option(help="How candidates are scored.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of items.tsv and sequences.tsv. Default: that of the split."),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the model is asked to rank.")] = Mode.FIRST_TOKEN,
    template: Annotated[
        TemplateName, typer.Option(help="In which prompts.")
    ] = TemplateName.PREFIX_CACHED,
    permutations: Annotated[
        int, typer.Option(min=1, help="Orders in which candidates are shown.")
    ] = 1,
    calibrated: Annotated[
        bool, typer.Option(help="Subtract what labels are worth without content (first_token).")
    ] = False,
    weight: Annotated[
        str | None,
        typer.Option(
            "--lambda",
            help="Of the co-visitation prior beside the scores; or `fit`, to find it. Default: 0, "
            "for lrgd_fused `fit`.",
        ),
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(
            help="Where lambda is fitted and texts are judged. Default: valid-* beside a split "
            "test-*, or one of --data about the same users."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="`onnx` (lrgd-mini), a folder of another ONNX model, or a server's URL."),
    ] = EMBEDDED,
    model: Annotated[str | None, typer.Option(help="Which model that server serves.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="LRGD_LLM_API_KEY", help="Of that server.")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Most calls under way at a server.")] = 8,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Deadline of the calls about one user.")
    ] = 60.0,
    users: Annotated[
        int | None, typer.Option(min=1, help="Only so many, the first: for a first look.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where a model's scores are kept; a second call goes on.")
    ] = Path("build/evaluation"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How well a method finds each user's next choice among the candidates of a file.

    Files are as in [bold]lrgd lab shop split[/], which makes some. Methods learn from sequences
    without the two newest items of any user, and are never told the targets.

    [bold]generated[/], [bold]best_of_n[/], [bold]lrgd[/] and [bold]lrgd_fused[/] learn first,
    on the validation targets: one text unselected, the best of six, two rounds of three
    paths, and these with lambda fitted. [bold]re2llm[/] and [bold]more[/] learn to pick a text.
    Networks, from [bold]bprmf[/] to [bold]fdsa[/], are trained first and stopped by the files
    valid-* of --data; that, EASE and itemknn need [bold]make setup-lab[/]. docs/baselines.md says
    what each method is.

    [bold]effect_d[/] is 1 / log2(rank + 1) of the choice, [bold]gauc[/] the chance that it
    scores above another candidate. Users for whom the model failed are ranked by the prior and
    counted as [bold]degraded[/]; a second call asks for them again. [bold]malformed[/] counts
    answers that name no candidate. With a lambda, figures of lambda 0 stand beside.

    [bold]lrgd lab evaluate --split games/test-uniform-1000.jsonl --method covisit[/]

    [bold]lrgd lab evaluate --split shop/test-300.jsonl --method zero_shot --lambda fit[/]
    """
    from lab.engines import EngineChoice  # noqa: PLC0415
    from lab.evaluation.evaluation import Evaluation, Watch  # noqa: PLC0415
    from lab.evaluation.evaluation import evaluate as measure  # noqa: PLC0415
    from lab.evaluation.files import validation_of  # noqa: PLC0415

    console = Console(stderr=True)
    file = data / split if data is not None and (data / split).is_file() else split
    folder = file.parent if data is None else data
    if calibrated and mode is not Mode.FIRST_TOKEN:
        raise ConfigurationError("--calibrated: only first_token has a label prior")
    form = PromptFormat(template=template, mode=mode)
    evaluation = Evaluation(
        data=folder,
        split=file,
        method=method,
        out=out,
        weight=_weight(weight or _default_weight(method)),
        valid=valid or validation_of(file, folder),
        users=users,
        engine=EngineChoice(engine, model, api_key, at_once),
        ranking=Method(form, permutations, calibrated),
        seconds=seconds,
    )
    figures = Figures("lrgd lab evaluate", engine=_named(method, engine, model))
    with Told() as told:
        measured, detail = measure(evaluation, Watch(told, told.say))
    if failures := detail["failures"]:
        reasons = ", ".join(f"{reason} {users}" for reason, users in failures.items())
        console.print(
            f"[yellow]![/] without an answer of the model, ranked by the prior: {reasons}. "
            "The same command asks for these users again.",
            soft_wrap=True,
        )
    if not as_json:
        _print_tables(detail)
    figures.show(measured, detail, as_json=as_json)


def _default_weight(method: MethodName) -> str:
    return FITTED if METHODS[method].fused else "0"


def _weight(given: str) -> float | None:
    """None: to be fitted."""
    if given == FITTED:
        return None
    try:
        weight = float(given)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise ConfigurationError(f"--lambda is a number from 0 on, or {FITTED}: not {given!r}")
    return weight


def _named(method: MethodName, engine: str, model: str | None) -> str:
    if METHODS[method].asks is None:
        return "none"
    return model or ("lrgd-mini" if engine == EMBEDDED else engine)


def _print_tables(detail: dict[str, Any]) -> None:
    rows = Table(Column(no_wrap=True), *_METRICS, "gain over it", "p", title=detail["split"])
    for row in detail["rows"]:
        rows.add_row(row["row"], *(f"{row[name]:.3f}" for name in _METRICS), *_against(row))
    headings = [name if name != "effect_d" else "effect_d, 95 %" for name in _METRICS]
    lengths = Table("history", "users", *headings, title="by length of the history")
    for row in detail["by_history"]:
        low, high = row["intervals"]["effect_d"]
        cells = [f"{row[name]:.3f}" for name in _METRICS]
        cells[_METRICS.index("effect_d")] += f" ({low:.2f}-{high:.2f})"
        lengths.add_row(row["history"], f"{row['users']:,}", *cells)
    console = Console(stderr=True)
    console.print(rows, lengths)
    if best := detail["best_other"]:
        console.print(
            f"over the best other row, {best['row']}: {best['shown_over_it']:+.3f} nDCG@10, "
            f"p {best['p']:.4f}"
        )


def _against(row: dict[str, Any]) -> tuple[str, str]:
    if "p" not in row:
        return "", ""
    return f"{row['shown_over_it']:+.3f}", f"{row['p']:.4f}"
