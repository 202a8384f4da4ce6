"""`lrgd regularization`: X_T_reg drafted, compared with the text in force, and activated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.settings import load_settings

if TYPE_CHECKING:
    from services.optimizer.regularizations import Regularizations, RegularizationView

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Change the sentence in every prompt that limits what the model may answer: X_T_reg.\n\n"
    "A draft is compared with the text in force, on the held-out events of a cohort; only then it "
    "can be activated. What was learned before stays served, and is judged again by later rounds.",
)
Result = TypeVar("Result")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Version = Annotated[str, typer.Argument(help="As `lrgd regularization list` shows it.")]
MEASURES = ("effect_d", "log_score")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Show the text in force first, then drafts and texts that were in force, the newest first."""
    views = _with_regularizations(lambda texts: texts.all())
    if as_json:
        print(json.dumps([_as_json(one) for one in views], indent=2))
        return
    table = Table("version", "state", "comparison", "where labels are answered")
    for one in views:
        table.add_row(one.version, one.state, _told(one.comparison), escape(one.by_label))
    Console().print(table)


@app.command()
def draft(
    by_label: Annotated[
        str, typer.Option("--by-label", help="One plain line, where the answer is labels.")
    ],
    by_title: Annotated[
        str, typer.Option("--by-title", help="The same where the answer is a title.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a draft. Nothing is served under it yet.

    [bold]lrgd regularization draft --by-label "Answer with labels alone, best first." \\
    --by-title "Answer with the title of one item alone."[/]
    """
    _shown(_with_regularizations(lambda texts: texts.draft(by_label, by_title)), as_json=as_json)


@app.command()
def compare(
    version: Version,
    *,
    users: Annotated[int, typer.Option(min=2, max=1000, help="Drawn from all.")] = 100,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens: then fewer users are compared.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a worker to rank held-out events under the draft and under the text in force.

    [bold]lrgd regularization show VERSION[/] tells how far it has got, and what came of it.
    """
    asked = _with_regularizations(lambda texts: texts.compare(version, users, budget_tokens))
    _shown(asked, as_json=as_json)


@app.command()
def show(version: Version, *, as_json: AsJson = False) -> None:
    """Show a text and its comparison: the difference with its 95 % interval over users."""
    _shown(_with_regularizations(lambda texts: texts.one(version)), as_json=as_json)


@app.command()
def activate(version: Version, *, as_json: AsJson = False) -> None:
    """Put a draft into force that was compared with the present text."""
    _shown(_with_regularizations(lambda texts: texts.activate(version)), as_json=as_json)


def _shown(view: RegularizationView, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(view), indent=2))
        return
    console = Console(soft_wrap=True)
    console.print(f"{view.version}: {view.state}")
    console.print(escape(f"by label  {view.by_label}\nby title  {view.by_title}"))
    compared = view.comparison
    if compared is None:
        console.print("not compared: `lrgd regularization compare` asks for it")
        return
    console.print(f"comparison: {_told(compared)}")
    if "effect_d" not in compared:
        return
    table = Table("", "draft", "in force", "difference", "95 %")
    for name in MEASURES:
        found = compared[name]
        around = ("low", "high")
        interval = " to ".join(f"{found[one]:+.4f}" for one in around if found[one] is not None)
        table.add_row(
            name, f"{found['draft']:.4f}", f"{found['active']:.4f}", f"{found['difference']:+.4f}",
            interval,
        )  # fmt: skip
    console.print(table)


def _told(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return ""
    told = f"{comparison['state']}, {comparison['compared']} of {comparison['users']} users"
    if comparison.get("out_of_budget"):
        told += ", the budget is used up"
    reason = comparison.get("reason")
    return told if reason is None else f"{told}: {reason}"


def _as_json(view: RegularizationView) -> dict[str, Any]:
    made, activated = view.made_at, view.activated_at
    return asdict(view) | {
        "made_at": None if made is None else made.isoformat(),
        "activated_at": None if activated is None else activated.isoformat(),
    }


def _with_regularizations(work: Callable[[Regularizations], Awaitable[Result]]) -> Result:
    from services.bootstrap import open_services  # noqa: PLC0415
    from services.observability.metrics import Metrics  # noqa: PLC0415

    effective = load_settings()

    async def run() -> Result:
        async with open_services(effective, Metrics()) as services:
            return await work(services.regularizations)

    return asyncio.run(run())
