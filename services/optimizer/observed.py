"""Decisions of rounds, as metrics. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.observability.metrics import Metrics, NoLabels, PathLabels, PathOutcomeLabels


def observe(metrics: Metrics, outcome: Mapping[str, Any]) -> None:
    """`outcome` is what `services.optimizer.decision` tells of a round."""
    for told in outcome["paths"]:
        path = str(told["path"])
        labels = PathOutcomeLabels(path, _became(told))
        metrics.round_texts.add(labels)
        if told["written"]:
            metrics.round_effect_d.observe(labels, told["effect_d"])
            metrics.round_log_score.observe(labels, told["log_score"])
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
