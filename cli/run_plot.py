"""The plot of a run, in the form of the paper's Fig. 9: Effect_D and similarity against rounds."""

from __future__ import annotations

from collections.abc import Sequence

from cli.svg import Line, Panel, figure
from services.optimizer.progress import Progress

# Okabe and Ito's: told apart by everybody.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
SERVED, ZERO_SHOT = "#333333", "#999999"


def run_plot(progress: Progress) -> str:
    rounds = progress.per_round
    paths = max((len(one.paths) for one in rounds), default=0)
    places = [float(one.ordinal) for one in rounds]

    def of_path(path: int, name: str) -> Sequence[float | None]:
        return [getattr(one.paths[path], name) for one in rounds]

    effects = [
        Line(f"path {path}", COLORS[path % len(COLORS)], places, of_path(path, "effect_d"))
        for path in range(paths)
    ]
    effects.append(Line("served", SERVED, places, [one.effect_d for one in rounds], width=2.5))
    effects.append(
        Line(
            "zero-shot", ZERO_SHOT, places, [one.zero_shot_effect_d for one in rounds], dashed=True
        )
    )
    similarities = [
        Line(f"path {path}", COLORS[path % len(COLORS)], places, of_path(path, "similarity"))
        for path in range(paths)
    ]
    users = max((one.users for one in rounds), default=0)
    return figure(
        f"{progress.run.run_id}: mean over {users} users",
        [
            Panel("Effect_D on held-out events", "round", effects),
            Panel("similarity to the path's text before", "round", similarities),
        ],
    )
