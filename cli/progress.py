"""Bars for long work: one for each thing that is counted, on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID


class Told:
    """Is told what is done, how many of how many."""

    def __init__(self) -> None:
        self._bar = Progress(console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Told:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, what: str, done: int, of: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=of)
        self._bar.update(self._tasks[what], completed=done, total=of)

    def say(self, line: str) -> None:
        """What people should know, above the bars."""
        self._bar.console.print(f"[yellow]![/] {escape(line)}", soft_wrap=True)
