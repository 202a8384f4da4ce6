"""What is promised, and what of it is kept: counted where it happens, judged by the rules of
Prometheus (deploy/prometheus/rules)."""

from __future__ import annotations

from enum import StrEnum

from services.observability.metrics import Metrics, ModeLabels, SloLabels
from services.settings import RankingMode, Settings


class Slo(StrEnum):
    AVAILABILITY = "availability"  # requests that are not answered by a 5xx
    LATENCY = "latency"  # lists that are answered, within LRGD_SLO_LATENCY_MS
    BY_MODEL = "by_model"  # lists that the model has ranked, where there is something to rank


def declare(metrics: Metrics, settings: Settings) -> None:
    """What is to be, beside what is: so that rules need no figures of their own. The counters begin
    at zero, or the first miss of all would not be seen as an increase."""
    for slo, objective in (
        (Slo.AVAILABILITY, settings.slo_availability),
        (Slo.LATENCY, settings.slo_latency),
        (Slo.BY_MODEL, settings.slo_by_model),
    ):
        metrics.slo_objective.set(SloLabels(slo), objective)
        metrics.slo_requests.add(SloLabels(slo), 0)
        metrics.slo_misses.add(SloLabels(slo), 0)
    mode = settings.ranking_mode or RankingMode.FIRST_TOKEN  # the best there is
    metrics.mode_configured.set(ModeLabels(mode), 1)


def count(metrics: Metrics, slo: Slo, *, met: bool) -> None:
    metrics.slo_requests.add(SloLabels(slo))
    if not met:
        metrics.slo_misses.add(SloLabels(slo))
