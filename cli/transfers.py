"""`lrgd import` and `lrgd export`: files in and out, past the gateway, straight to the database."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from services.catalog.exporting import exported
from services.catalog.importing import ImportState, Refusal, import_file
from services.catalog.inputs import Kind
from services.catalog.loaders import Format, detect
from services.settings import Settings, load_settings
from services.storage.database import open_database

MOST_REFUSALS_SHOWN = 20


def install(app: typer.Typer) -> None:
    app.command("import")(import_)
    app.command()(export)


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="Our JSONL, RecBole's atomic files, Amazon reviews or Gorse's JSONL."),
    ],
    *,
    format: Annotated[
        Format | None, typer.Option(help="Default: recognized from name and first line.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Default: recognized.")] = None,
    event_type: Annotated[
        str, typer.Option(help="What an interaction without a rating was (RecBole).")
    ] = "purchase",
    min_core: Annotated[
        int | None,
        typer.Option(help="Keep only events of users and items with so many (5: the 5-core)."),
    ] = None,
    refusals: Annotated[
        Path | None, typer.Option(help="Write every refused line's number and reason here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Import items, users and events. Broken off, it goes on where it stopped when called again.

    Good lines land; bad ones are reported with their number and reason. Calling it twice does no
    harm: an event counts once, items and users are replaced.
    """
    paths = sorted(files, key=lambda path: _order(path, kind))
    results = asyncio.run(
        _bring(
            load_settings(),
            paths,
            refusals,
            {"format": format, "kind": kind, "event_type": event_type, "min_core": min_core},
        )
    )
    if as_json:
        print(json.dumps(results, indent=2))
    if any(result["refused"] for result in results.values()):
        raise typer.Exit(1)


def export(
    kind: Annotated[Kind, typer.Argument(help="What to export.")],
    file: Annotated[Path | None, typer.Argument(help="Default: standard output.")] = None,
) -> None:
    """Export items, users or events as JSONL, as `lrgd import` takes them."""
    asyncio.run(_write(load_settings(), kind, file))


async def _bring(
    settings: Settings, paths: list[Path], report: Path | None, options: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    from services.bootstrap import open_catalog  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    told = _Refusals(console, report)
    results = {}
    async with open_catalog(settings) as catalog:
        with told, _progress(console) as progress:
            for path in paths:
                told.file = path
                task = progress.add_task(path.name, total=None, rows=0)

                def advance(state: ImportState, found: list[Refusal], task: TaskID = task) -> None:
                    progress.update(task, completed=state.position, rows=state.lines)
                    told.add(found)

                import_id = _import_id(path, options)
                state = await import_file(
                    catalog, path, import_id=import_id, again=True, on_batch=advance, **options
                )
                progress.update(task, total=state.position, completed=state.position)
                results[str(path)] = asdict(state)
    for name, state_ in results.items():
        console.print(
            f"[green]✓[/] {name}: {state_['accepted']:,} accepted, "
            f"{state_['duplicates']:,} seen before, {state_['refused']:,} refused"
        )
    return results


async def _write(settings: Settings, kind: Kind, file: Path | None) -> None:
    database = open_database(settings)
    lines = 0
    try:
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(_replacing(file)) if file else sys.stdout.buffer
            progress = stack.enter_context(_progress(Console(stderr=True)))
            task = progress.add_task(f"export {kind}", total=None, rows=0)
            async for page in exported(database, kind):
                out.write(page)
                lines += page.count(b"\n")
                progress.update(task, rows=lines)
    finally:
        await database.aclose()


@contextlib.contextmanager
def _replacing(file: Path) -> Iterator[BinaryIO]:
    """The file as it will be: an export that breaks off leaves the last one as it was."""
    if file.exists() and not file.is_file():  # a pipe
        with file.open("wb") as out:
            yield out
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


class _Refusals:
    """Shows the first refused lines, and writes all of them where the caller wants them."""

    def __init__(self, console: Console, report: Path | None) -> None:
        self.file = Path()
        self._console = console
        self._report = report.open("w") if report else None
        self._shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._report:
            self._report.close()

    def add(self, found: list[Refusal]) -> None:
        for refusal in found:
            told = f"{self.file}:{refusal.number}: {refusal.reason}"
            if self._report:
                self._report.write(f"{told}\n")
            self._shown += 1
            if self._shown <= MOST_REFUSALS_SHOWN:
                self._console.print(f"[yellow]![/] {escape(told)}")
            elif self._shown == MOST_REFUSALS_SHOWN + 1:
                self._console.print("[yellow]![/] … more: --refusals FILE writes all of them")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} lines"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _import_id(path: Path, options: dict[str, Any]) -> str:
    """The same for the same file read in the same way: a file that has changed is a new import."""
    stat = path.stat() if path.exists() else None
    told = (str(path.resolve()), stat and (stat.st_size, stat.st_mtime_ns), sorted(options.items()))
    return f"file-{hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()}"


def _order(path: Path, kind: Kind | None) -> int:
    """Items, users, events: the order in which their rows may name each other."""
    known = kind or detect(path)[1]
    return len(Kind) if known is None else list(Kind).index(known)
