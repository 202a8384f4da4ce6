"""Every metric of the system, named and typed in one place.

Labels are named tuples, so a misspelled or missing label is a type error, and every label is a
small closed set: never a user, an item or a raw path.

Processes of one deployable share their numbers through files (prometheus-client's multiprocess
mode). The mode is chosen when prometheus_client is first imported, hence `share_metrics` must run
before that, and this module must not be imported by a command line that has not decided yet.
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.observability.sharing import forget_dead_processes, shared_folder

LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
# Between the values that 1 / log2(rank + 1) can have: no answer in the list, then by rank from 13
# on, 8, 5, 3, 2 and the first.
EFFECT_D_BUCKETS = (0.0, 0.26, 0.32, 0.4, 0.51, 0.64, 1.0)
LOG_SCORE_BUCKETS = (-8.0, -6.0, -5.0, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0)
SIMILARITY_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MEMORY_BUCKETS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class NoLabels(NamedTuple):
    pass


class RouteLabels(NamedTuple):
    method: str
    route: str


class ResponseLabels(NamedTuple):
    method: str
    route: str
    status: str


class RowLabels(NamedTuple):
    kind: str
    status: str


class JobLabels(NamedTuple):
    job: str


class JobOutcomeLabels(NamedTuple):
    job: str
    outcome: str


class PartLabels(NamedTuple):
    part: str


class SourceLabels(NamedTuple):
    source: str


class DegradedLabels(NamedTuple):
    source: str
    reason: str


class RankingLabels(NamedTuple):
    mode: str


class ArmLabels(NamedTuple):
    """`none` and `none` is what belongs to no experiment."""

    experiment: str
    arm: str


class OutcomeLabels(NamedTuple):
    outcome: str


class PutBackLabels(NamedTuple):
    reason: str


class SwitchLabels(NamedTuple):
    reason: str


class PathLabels(NamedTuple):
    path: str


class PathOutcomeLabels(NamedTuple):
    path: str
    outcome: str


class LlmCallLabels(NamedTuple):
    kind: str


class LlmOutcomeLabels(NamedTuple):
    kind: str
    outcome: str


class LlmTokenLabels(NamedTuple):
    kind: str
    part: str


class LlmFlawLabels(NamedTuple):
    kind: str
    flaw: str


class LlmRetryLabels(NamedTuple):
    reason: str


class LlmPriorityLabels(NamedTuple):
    priority: str


class LlmAbilityLabels(NamedTuple):
    ability: str


Wrapped = TypeVar("Wrapped", prometheus.Counter, prometheus.Gauge, prometheus.Histogram)
Labels = TypeVar("Labels", bound=tuple[str, ...])


class Counter(Generic[Labels]):
    def __init__(
        self, registry: CollectorRegistry, labels: type[Labels], name: str, help_: str
    ) -> None:
        self.name = name
        self._metric = prometheus.Counter(name, help_, _fields(labels), registry=registry)

    def add(self, labels: Labels, amount: float = 1) -> None:
        _child(self._metric, labels).inc(amount)


class Gauge(Generic[Labels]):
    def __init__(
        self,
        registry: CollectorRegistry,
        labels: type[Labels],
        name: str,
        help_: str,
        across_processes: Literal["livesum", "livemax", "mostrecent", "max"],
    ) -> None:
        self.name = name
        self._metric = prometheus.Gauge(
            name, help_, _fields(labels), registry=registry, multiprocess_mode=across_processes
        )

    def set(self, labels: Labels, value: float) -> None:
        _child(self._metric, labels).set(value)

    def add(self, labels: Labels, amount: float) -> None:
        _child(self._metric, labels).inc(amount)


class Histogram(Generic[Labels]):
    def __init__(
        self,
        registry: CollectorRegistry,
        labels: type[Labels],
        name: str,
        help_: str,
        buckets: tuple[float, ...] = LATENCY_BUCKETS,
    ) -> None:
        self.name = name
        self._metric = prometheus.Histogram(
            name, help_, _fields(labels), registry=registry, buckets=buckets
        )

    def observe(self, labels: Labels, value: float) -> None:
        _child(self._metric, labels).observe(value)


class Metrics:
    def __init__(self) -> None:
        r = self._registry = CollectorRegistry()

        self.http_requests = Counter(
            r, ResponseLabels, "lrgd_http_requests_total", "Requests answered."
        )
        self.http_seconds = Histogram(
            r, RouteLabels, "lrgd_http_request_seconds", "Time from request to answer."
        )
        self.http_in_flight = Gauge(
            r, NoLabels, "lrgd_http_requests_in_flight", "Requests being answered.", "livesum"
        )
        self.rate_limited = Counter(
            r, NoLabels, "lrgd_rate_limited_total", "Requests refused over the rate limit."
        )
        self.rate_limit_unchecked = Counter(
            r, NoLabels, "lrgd_rate_limit_unchecked_total",
            "Requests let through because Redis did not answer the rate limiter.",
        )  # fmt: skip
        self.rows = Counter(
            r,
            RowLabels,
            "lrgd_catalog_rows_total",
            "Rows received, by kind and what became of them.",
        )
        self.recommendations = Counter(
            r, SourceLabels, "lrgd_recommendations_total", "Lists served, by their source."
        )
        self.recommendations_degraded = Counter(
            r, DegradedLabels, "lrgd_recommendations_degraded_total",
            "Lists served without the model, by what they came from instead, and why.",
        )  # fmt: skip
        self.recommendations_refused = Counter(
            r, NoLabels, "lrgd_recommendations_refused_total",
            "Requests refused because too many were under way.",
        )  # fmt: skip
        self.rankings = Counter(
            r, RankingLabels, "lrgd_rankings_total", "Rankings by the model, by mode."
        )
        self.user_states = Counter(
            r, OutcomeLabels, "lrgd_user_states_total",
            "Look-ups and changes of what is kept of users in Redis, by outcome.",
        )  # fmt: skip
        self.replies = Counter(
            r, OutcomeLabels, "lrgd_replies_total", "Replies to be kept, by what became of them."
        )
        self.recommendations_by_arm = Counter(
            r, ArmLabels, "lrgd_recommendations_by_arm_total",
            "Lists served to users with an id, by the arm of an experiment.",
        )  # fmt: skip
        self.online_effect_d = Histogram(
            r, ArmLabels, "lrgd_online_effect_d",
            "Effect_D of the first positive event that names a list: 0 if its item is not in it.",
            buckets=EFFECT_D_BUCKETS,
        )  # fmt: skip
        self.online_hits = Counter(
            r, ArmLabels, "lrgd_online_hits_total",
            "Lists whose first such event was of one of their first 10 items.",
        )  # fmt: skip
        self.online_answers_lost = Counter(
            r, NoLabels, "lrgd_online_answers_lost_total",
            "Events that name a list and are missing from its online Effect_D.",
        )  # fmt: skip
        self.jobs_lost = Counter(
            r, JobLabels, "lrgd_jobs_lost_total", "Jobs that could not be put on the queue."
        )
        self.jobs = Counter(
            r, JobOutcomeLabels, "lrgd_jobs_total", "Jobs run by workers, by outcome."
        )
        self.job_seconds = Histogram(r, JobLabels, "lrgd_job_seconds", "Time a job took.")
        self.heartbeat_age = Gauge(
            r, NoLabels, "lrgd_worker_heartbeat_age_seconds",
            "Time since a heartbeat last went through broker and worker.", "mostrecent",
        )  # fmt: skip
        self.ready = Gauge(
            r, PartLabels, "lrgd_part_ready", "1 if the part answered the last check.", "mostrecent"
        )

        self.covisit_refresh_seconds = Histogram(
            r, NoLabels, "lrgd_covisit_refresh_seconds",
            "Time of one refresh of the co-visitation index.",
        )  # fmt: skip
        self.covisit_pairs = Gauge(
            r, NoLabels, "lrgd_covisit_pairs", "Pairs of items in the index.", "mostrecent"
        )
        self.covisit_refreshed_at = Gauge(
            r, NoLabels, "lrgd_covisit_refreshed_timestamp_seconds",
            "When the index had last counted every event; its age is time() minus this.",
            "mostrecent",
        )  # fmt: skip

        self.rounds = Counter(
            r, OutcomeLabels, "lrgd_rounds_total", "Rounds of learning that ended, by outcome."
        )
        self.rounds_put_back = Counter(
            r, PutBackLabels, "lrgd_rounds_put_back_total",
            "Rounds that were broken off and wait to be gone on with, by why.",
        )  # fmt: skip
        self.lease_expiries = Counter(
            r, NoLabels, "lrgd_lease_expiries_total",
            "Rounds whose worker was not heard of any more.",
        )  # fmt: skip
        self.lost_calls = Counter(
            r, NoLabels, "lrgd_lost_calls_total",
            "Calls of the model that were paid for and whose answers were lost.",
        )  # fmt: skip
        self.rounds_backlog = Gauge(
            r, NoLabels, "lrgd_rounds_backlog", "Rounds that wait for a worker.", "mostrecent"
        )

        self.round_effect_d = Histogram(
            r, PathOutcomeLabels, "lrgd_round_effect_d",
            "Mean Effect_D, on held-out events, of what a path wrote in a round, by what became of "
            "it: accepted, rejected, or screened_out after the first draw.",
            buckets=EFFECT_D_BUCKETS,
        )  # fmt: skip
        self.round_log_score = Histogram(
            r, PathOutcomeLabels, "lrgd_round_log_score",
            "Mean log-score of the same.", buckets=LOG_SCORE_BUCKETS,
        )  # fmt: skip
        self.round_texts = Counter(
            r, PathOutcomeLabels, "lrgd_round_texts_total",
            "Demonstrations that paths were to write, by what became of them.",
        )  # fmt: skip
        self.round_similarity = Histogram(
            r, PathLabels, "lrgd_round_similarity",
            "How alike a path's text is to the one it had written before.",
            buckets=SIMILARITY_BUCKETS,
        )  # fmt: skip
        self.collapses = Counter(
            r, PathLabels, "lrgd_collapses_total", "Rounds after which a path has collapsed."
        )
        self.perturbations = Counter(
            r, PathOutcomeLabels, "lrgd_perturbations_total",
            "Rounds of collapsed paths: perturbed, or without anything to borrow.",
        )  # fmt: skip
        self.memory_size = Histogram(
            r, NoLabels, "lrgd_memory_size",
            "Effective demonstrations of a user after a round.", buckets=MEMORY_BUCKETS,
        )  # fmt: skip
        self.switches = Counter(
            r, SwitchLabels, "lrgd_switches_total",
            "Changes of what is served to a user, by why: round or rollback.",
        )  # fmt: skip
        self.automatic_users = Counter(
            r, OutcomeLabels, "lrgd_automatic_rounds_users_total",
            "Users for whom a round was asked by itself, by occasion.",
        )  # fmt: skip
        self.automatic_refused = Counter(
            r, NoLabels, "lrgd_automatic_rounds_refused_total",
            "Users left for later because the day's tokens are spent.",
        )  # fmt: skip

        self.llm_calls = Counter(
            r, LlmOutcomeLabels, "lrgd_llm_calls_total", "Calls of the language model, by outcome."
        )
        self.llm_seconds = Histogram(
            r, LlmCallLabels, "lrgd_llm_call_seconds",
            "Time of a call of the language model, waiting and retries included.",
        )  # fmt: skip
        self.llm_tokens = Counter(
            r, LlmTokenLabels, "lrgd_llm_tokens_total",
            "Tokens: of prompts, cached ones among them, and of completions.",
        )  # fmt: skip
        self.llm_malformed = Counter(
            r, LlmFlawLabels, "lrgd_llm_malformed_total", "Answers of the model that were garbage."
        )
        self.llm_retries = Counter(
            r, LlmRetryLabels, "lrgd_llm_retries_total", "Requests to the model sent once more."
        )
        self.llm_in_flight = Gauge(
            r, NoLabels, "lrgd_llm_in_flight", "Requests under way to the model.", "livesum"
        )
        self.llm_queue_refused = Counter(
            r, LlmPriorityLabels, "lrgd_llm_queue_refused_total",
            "Calls refused because too many waited for the model.",
        )  # fmt: skip
        self.llm_breaker = Gauge(
            r, NoLabels, "lrgd_llm_breaker_state",
            "Circuit breaker before the model: 0 closed, 1 half-open, 2 open.", "livemax",
        )  # fmt: skip
        self.llm_ability = Gauge(
            r, LlmAbilityLabels, "lrgd_llm_ability",
            "1 if the model server was found to have the ability.", "mostrecent",
        )  # fmt: skip

    def render(self) -> bytes:
        """The exposition of all processes that share their metrics with this one."""
        folder = shared_folder()
        if folder is not None:
            forget_dead_processes(folder)
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self._registry)

    content_type = CONTENT_TYPE_LATEST


def serve_shared_metrics(port: int) -> None:
    """/metrics of a deployable that has no HTTP server, in a thread of its parent process."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    prometheus.start_http_server(port, registry=registry)


def _fields(labels: type[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(getattr(labels, "_fields", ()))


def _child(metric: Wrapped, labels: tuple[str, ...]) -> Wrapped:
    return metric.labels(*labels) if labels else metric
