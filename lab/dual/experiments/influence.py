"""Do cheap scores of influence rank as leaving out does? On lrgd-mini's own prompts.

The score is chosen on one half of the prompts and reported on the other. All figures are Spearman
correlations within a prompt, over its past items and the sentences of its demonstration, averaged
over prompts; those over whole segments stand beside.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lab.dual.drawing import panels
from lab.dual.families import lrgd_mini
from lab.dual.influence import Examined, Score
from lab.dual.prompts import Prompts, UnitKind
from lab.statistics import estimate, spearman

MASKING = "masking"
FINE = (UnitKind.ITEM, UnitKind.SENTENCE)
OVER = {
    "units": FINE,
    "items": (UnitKind.ITEM,),
    "sentences": (UnitKind.SENTENCE,),
    "segments": (UnitKind.SEGMENT,),
}
# What is left to choose from: those that no run but one forward and backward is needed for.
CANDIDATES = tuple(Score)
_AT_ONCE = 10

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prompted:
    """Of one prompt, by unit: what kinds they are, the truth, and what each way says."""

    kinds: list[UnitKind]
    truth: list[float]
    said: dict[str, list[float]]
    seconds: dict[str, float]

    def correlation(self, way: str, kinds: Sequence[UnitKind]) -> float:
        places = [number for number, kind in enumerate(self.kinds) if kind in kinds]
        return spearman([self.said[way][n] for n in places], [self.truth[n] for n in places])


def measure(prompts: int, processes: int, tell: Tell) -> tuple[dict[str, float], dict[str, Any]]:
    seen = _see(prompts, processes, tell)
    half = len(seen) // 2
    chosen_on, reported_on = seen[:half], seen[half:]
    chosen = max(CANDIDATES, key=lambda score: _mean(chosen_on, score, FINE))
    interval = estimate([one.correlation(chosen, FINE) for one in reported_on])
    figures = {
        "spearman.heldout": _mean(reported_on, chosen, FINE),
        "spearman.heldout.low": interval.low,
        "spearman.heldout.high": interval.high,
        "spearman.chosen_on": _mean(chosen_on, chosen, FINE),
        **{f"spearman.{way}": _mean(reported_on, way, FINE) for way in (*Score, MASKING)},
        **{f"spearman.heldout.{n}": _mean(reported_on, chosen, k) for n, k in OVER.items()},
        **{f"spearman.masking.{n}": _mean(reported_on, MASKING, k) for n, k in OVER.items()},
        "same_sign": _mean_of(_same_sign(one, chosen) for one in reported_on),
        "most_important_found": _mean_of(_finds_the_first(one, chosen) for one in reported_on),
        **{
            f"cpu_seconds.{name}": _mean_of(one.seconds[name] for one in seen)
            for name in seen[0].seconds
        },
        "prompts": float(len(seen)),
    }
    table = [
        {"way": way, **{name: _mean(reported_on, way, kinds) for name, kinds in OVER.items()}}
        for way in (*Score, MASKING)
    ]
    pairs = [
        (one.said[chosen][n], one.truth[n], one.kinds[n])
        for one in reported_on
        for n in range(len(one.kinds))
    ]
    return figures, {
        "chosen": chosen,
        "reported_on": len(reported_on),
        "table": table,
        "within_prompts": {
            way: [one.correlation(way, FINE) for one in reported_on]
            for way in (chosen, MASKING, Score.ATTENTION_MASS)
        },
        "pairs": pairs,
    }


def _see(prompts: int, processes: int, tell: Tell) -> list[Prompted]:
    """In processes of one thread each: together they are faster than one with as many."""
    begins = range(0, prompts, _AT_ONCE)
    context = multiprocessing.get_context("spawn")
    parts: dict[int, list[Prompted]] = {}
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        running = {
            pool.submit(_part, begin, min(prompts, begin + _AT_ONCE)): begin for begin in begins
        }
        for done in as_completed(running):
            parts[running[done]] = done.result()
            tell("prompts", sum(map(len, parts.values())), prompts)
    return [one for begin in begins for one in parts[begin]]


def _part(begin: int, end: int) -> list[Prompted]:
    torch.set_num_threads(1)
    model, prompts = lrgd_mini(torch.float32), Prompts()
    found = []
    for number, prompt in enumerate(prompts.first(end)):
        if number < begin:
            continue
        examined = Examined(model, prompt)
        clock = _Clock()
        scores = {score.value: values.tolist() for score, values in examined.scores().items()}
        clock.lap("scores")
        truth = examined.left_out(prompts.tokenizer).tolist()
        clock.lap("leaving_out")
        scores[MASKING] = examined.masked().tolist()
        clock.lap("masking")
        found.append(Prompted([unit.kind for unit in prompt.units], truth, scores, clock.laps))
    return found


class _Clock:
    """Of the processor, not of the wall: others may be at work."""

    def __init__(self) -> None:
        self._last = time.process_time()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.laps[name] = now - self._last
        self._last = now


def _mean(prompts: Sequence[Prompted], way: str, kinds: Sequence[UnitKind]) -> float:
    return _mean_of(one.correlation(way, kinds) for one in prompts)


def _same_sign(one: Prompted, way: str) -> float:
    fine = [number for number, kind in enumerate(one.kinds) if kind in FINE]
    return _mean_of(float(one.said[way][n] * one.truth[n] > 0) for n in fine)


def _finds_the_first(one: Prompted, way: str) -> float:
    fine = [number for number, kind in enumerate(one.kinds) if kind in FINE]
    best = max(fine, key=lambda number: one.truth[number])
    return float(max(fine, key=lambda number: one.said[way][number]) == best)


def _mean_of(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def draw(detail: dict[str, Any]) -> Any:
    figure, (axes,) = panels(2, width=4.4, height=3.8)
    labels = {UnitKind.ITEM: "past items", UnitKind.SENTENCE: "sentences of the demonstration"}
    for number, kind in enumerate(FINE):
        points = np.array([(said, truth) for said, truth, of in detail["pairs"] if of == kind])
        axes[0].plot(
            points[:, 0], points[:, 1], ".", markersize=3, alpha=0.4, color=f"C{number}",
            label=labels[kind],
        )  # fmt: skip
    axes[0].set(xlabel=detail["chosen"], ylabel="left out, log p of the recommended item")
    axes[0].legend()
    within = detail["within_prompts"]
    axes[1].hist(list(within.values()), bins=np.linspace(-1, 1, 21).tolist(), label=list(within))
    axes[1].set(xlabel="Spearman within a prompt", ylabel="prompts")
    axes[1].legend()
    return figure
