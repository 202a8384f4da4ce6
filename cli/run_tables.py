"""A run in the terminal, and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from services.optimizer.models import PartState, RunState
from services.optimizer.progress import PathProgress, Progress, RoundProgress, RunView


def progress_view(progress: Progress) -> RenderableType:
    # Narrow: three paths fit a terminal of 80 columns.
    rounds = Table(title=_title(progress), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("round", "users", "served", "zero-\nshot"):
        rounds.add_column(name, justify="right")
    paths = max((len(one.paths) for one in progress.per_round), default=0)
    for path in range(paths):
        rounds.add_column(f"path {path}", justify="right")
    for name in ("simi-\nlarity", "ac-\ncepted", "col-\nlapsed", "per-\nturbed"):
        rounds.add_column(name, justify="right")
    for one in progress.per_round:
        rounds.add_row(*_row(one))
    return Group(rounds, Text(_costs(progress), style="dim"), *_reasons(progress))


def list_table(runs: Sequence[RunView]) -> Table:
    table = Table("run", "state", "users", "tokens", "of at most", "started", "ended")
    for run in runs:
        most, ended = run.budget.tokens, run.finished_at
        table.add_row(
            escape(run.run_id), run.state, _counted(run.users), f"{run.spent.tokens:,}",
            "" if most is None else f"{most:,}", _moment(run.made_at),
            "" if ended is None else _moment(ended),
        )  # fmt: skip
    return table


def run_row(run: RunView) -> dict[str, Any]:
    ended = run.finished_at
    return {
        "run_id": run.run_id,
        "state": run.state,
        "users": dict(run.users),
        "settings": dict(run.settings),
        "budget": asdict(run.budget),
        "spent": asdict(run.spent),
        "made_at": run.made_at.isoformat(),
        "finished_at": None if ended is None else ended.isoformat(),
    }


def figures_of(progress: Progress) -> dict[str, float]:
    """`effect_d` is of what is served after the newest round, `zero_shot_effect_d` of the same
    users and held-out events without a demonstration. What nobody knows yet is left out."""
    figures: dict[str, float] = {
        "rounds_wanted": progress.wanted,
        "rounds_done": progress.done,
        "calls": progress.tokens.calls,
        "prompt_tokens": progress.tokens.prompt,
        "cached_tokens": progress.tokens.cached,
        "completion_tokens": progress.tokens.completion,
        "round_seconds": round(progress.tokens.seconds, 3),
    }
    if progress.done:
        uncached = progress.tokens.prompt - progress.tokens.cached
        figures |= {
            "calls_per_round": progress.tokens.calls / progress.done,
            "uncached_prompt_tokens_per_round": uncached / progress.done,
            "completion_tokens_per_round": progress.tokens.completion / progress.done,
            "seconds_per_round": progress.tokens.seconds / progress.done,
        }
    if progress.per_round:
        newest = progress.per_round[-1]
        told = {
            "effect_d": newest.effect_d,
            "zero_shot_effect_d": newest.zero_shot_effect_d,
            "log_score": newest.log_score,
            "zero_shot_log_score": newest.zero_shot_log_score,
        }
        figures |= {name: value for name, value in told.items() if value is not None}
        for name in ("accepted", "collapsed", "perturbed"):
            figures[name] = sum(
                getattr(path, name) for one in progress.per_round for path in one.paths
            )
    return figures


def detail(progress: Progress) -> dict[str, Any]:
    return {
        "run": run_row(progress.run),
        "rounds": dict(progress.rounds),
        "per_round": [asdict(one) for one in progress.per_round],
        "reasons": dict(progress.reasons),
    }


def _title(progress: Progress) -> str:
    run = progress.run
    return f"{escape(run.run_id)}: {run.state}, {_counted(run.users)}"


def _counted(users: Mapping[PartState, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in users.items()) or "nobody"


def _row(one: RoundProgress) -> list[str]:
    return [
        str(one.ordinal),
        str(one.users),
        _figure(one.effect_d),
        _figure(one.zero_shot_effect_d),
        *(_figure(path.effect_d) for path in one.paths),
        _figure(_mean_similarity(one.paths)),
        f"{sum(path.accepted for path in one.paths)}/{sum(path.written for path in one.paths)}",
        str(sum(path.collapsed for path in one.paths)),
        str(sum(path.perturbed for path in one.paths)),
    ]


def _mean_similarity(paths: Sequence[PathProgress]) -> float | None:
    known = [path.similarity for path in paths if path.similarity is not None]
    return sum(known) / len(known) if known else None


def _costs(progress: Progress) -> str:
    tokens = progress.tokens
    told = [
        f"{progress.done} of {progress.wanted} rounds",
        f"{tokens.calls:,} calls",
        f"{tokens.prompt:,} prompt tokens ({tokens.cached:,} cached)",
        f"{tokens.completion:,} completion tokens",
    ]
    if tokens.lost_calls:
        told.append(f"{tokens.lost_calls:,} calls lost")
    left = _time_left(progress)
    if left is not None:
        told.append(f"about {left} left")
    return ", ".join(told)


def _time_left(progress: Progress) -> str | None:
    """As long for each round to come as for each so far."""
    if progress.run.state is not RunState.RUNNING or not progress.done:
        return None
    took = datetime.now(UTC) - progress.run.made_at
    left = took * (progress.wanted - progress.done) / progress.done
    return str(timedelta(seconds=round(left.total_seconds())))


def _reasons(progress: Progress) -> list[Text]:
    return [
        Text(f"{count} times: {reason}", style="yellow")
        for reason, count in progress.reasons.items()
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
