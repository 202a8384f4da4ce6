"""Decisions of rounds, as metrics. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.observability.metrics import (
    LearnedLabels,
    Metrics,
    NoLabels,
    PathLabels,
    PathOutcomeLabels,
    ServedLabels,
)

# A label has few values: later rounds of a user are told together.
ROUNDS_TOLD_APART = 10


def observe(metrics: Metrics, outcome: Mapping[str, Any], number: int) -> None:
    """`outcome` is what `services.optimizer.decision` tells of a user's round of this number."""
    round_ = str(number) if number <= ROUNDS_TOLD_APART else f"{ROUNDS_TOLD_APART + 1}+"
    bare, best = outcome["zero_shot"], outcome["active"]
    for served, told in (("zero_shot", bare), ("best", bare if best is None else best)):
        metrics.served_effect_d.observe(ServedLabels(served, round_), told["effect_d"])
    for told in outcome["paths"]:
        path = str(told["path"])
        labels = PathOutcomeLabels(path, _became(told))
        metrics.round_texts.add(labels)
        if told["written"]:
            learned = LearnedLabels(path, round_, labels.outcome)
            metrics.round_effect_d.observe(learned, told["effect_d"])
            metrics.round_log_loss.observe(learned, -told["log_score"])
        if told["similarity"] is not None:
            metrics.round_similarity.observe(PathLabels(path), told["similarity"])
        if told["collapsed"]:
            metrics.collapses.add(PathLabels(path))
        if told["perturbed"] is not None:
            borrowed = "perturbed" if told["perturbed"] else "nothing_to_borrow"
            metrics.perturbations.add(PathOutcomeLabels(path, borrowed))
    metrics.memory_size.observe(NoLabels(), outcome["memory"])


def _became(told: Mapping[str, Any]) -> str:
    if not told["written"]:
        return "not_written"
    if told["accepted"]:
        return "accepted"
    return "screened_out" if told["screened_out"] else "rejected"
