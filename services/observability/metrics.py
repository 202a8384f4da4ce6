"""Every metric of the system, named and typed in one place.

Labels are named tuples, so a misspelled or missing label is a type error, and every label is a
small closed set: never a user, an item or a raw path.

Processes of one deployable share their numbers through files (prometheus-client's multiprocess
mode). The mode is chosen when prometheus_client is first imported, hence `share_metrics` must run
before that, and this module must not be imported by a command line that has not decided yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Metric, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from services.observability.kinds import Counter, Gauge, Histogram
from services.observability.sharing import forget_dead_processes, shared_folder

# Between the values that 1 / log2(rank + 1) can have: no answer in the list, then by rank from 13
# on, 8, 5, 3, 2 and the first.
EFFECT_D_BUCKETS = (0.0, 0.26, 0.32, 0.4, 0.51, 0.64, 1.0)
LOG_LOSS_BUCKETS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
SIMILARITY_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Of one run: from a single round of a small model to a cohort's night.
TOKEN_BUCKETS = (1e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)
STEP_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
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
    task: str


class JobOutcomeLabels(NamedTuple):
    task: str
    outcome: str


class PartLabels(NamedTuple):
    part: str


class SourceLabels(NamedTuple):
    source: str


class DegradedLabels(NamedTuple):
    source: str
    reason: str


class RankingLabels(NamedTuple):
    """`chosen_by`: the caller, an arm of an experiment, or else the settings."""

    mode: str
    chosen_by: str


class ModeLabels(NamedTuple):
    mode: str


class ReadingLabels(NamedTuple):
    reading: str


class SloLabels(NamedTuple):
    slo: str


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


class LearnedLabels(NamedTuple):
    path: str
    round: str
    outcome: str


class ServedLabels(NamedTuple):
    served: str
    round: str


class StepLabels(NamedTuple):
    step: str


class TokenLabels(NamedTuple):
    part: str


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


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._of_the_service(self._registry)
        self._of_workers(self._registry)
        self._of_learning(self._registry)
        self._of_the_model(self._registry)

    def _of_the_service(self, r: CollectorRegistry) -> None:

        self.http_requests = Counter(
            r, ResponseLabels, "lrgd_http_requests_total", "Requests answered."
        )
        self.http_seconds = Histogram(
            r, RouteLabels, "lrgd_http_request_seconds", "Time from request to answer."
        )
        self.http_in_flight = Gauge(
            r, NoLabels, "lrgd_http_requests_in_flight", "Requests being answered.", "livesum"
        )
        self.slo_requests = Counter(
            r, SloLabels, "lrgd_slo_requests_total", "What an objective is about."
        )
        self.slo_misses = Counter(
            r, SloLabels, "lrgd_slo_misses_total", "What of it did not meet the objective."
        )
        self.slo_objective = Gauge(
            r, SloLabels, "lrgd_slo_objective", "The share that should meet it.", "mostrecent"
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
        self.recommendation_seconds = Histogram(
            r, SourceLabels, "lrgd_recommendation_seconds",
            "Time to make a list, by its source.",
        )  # fmt: skip
        self.rankings = Counter(
            r, RankingLabels, "lrgd_rankings_total",
            "Rankings by the model, by mode and by who chose it.",
        )  # fmt: skip
        self.mode_configured = Gauge(
            r, ModeLabels, "lrgd_ranking_mode_configured",
            "1 for the mode that rankings should have where nobody asks for another.", "mostrecent",
        )  # fmt: skip
        self.written_lists = Counter(
            r, ReadingLabels, "lrgd_written_lists_total",
            "Lists that the model wrote in the generate mode, by how they could be read.",
        )  # fmt: skip
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

    def _of_workers(self, r: CollectorRegistry) -> None:
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

    def _of_learning(self, r: CollectorRegistry) -> None:
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

        self.round_step_seconds = Histogram(
            r, StepLabels, "lrgd_round_step_seconds",
            "Time of one step of a round, waiting for the model included.", buckets=STEP_BUCKETS,
        )  # fmt: skip
        self.round_tokens = Counter(
            r, TokenLabels, "lrgd_round_tokens_total",
            "Tokens paid for by rounds: of prompts, cached ones among them, and of completions.",
        )  # fmt: skip
        self.runs = Counter(
            r, OutcomeLabels, "lrgd_runs_total", "Runs of learning that ended, by outcome."
        )
        self.run_tokens = Histogram(
            r, NoLabels, "lrgd_run_tokens", "Tokens that a run had cost when it ended.",
            buckets=TOKEN_BUCKETS,
        )  # fmt: skip
        self.run_budget_used = Gauge(
            r, NoLabels, "lrgd_run_budget_used_ratio",
            "Of the tokens a run may spend, the share that is spent: the highest of all runs that "
            "are going on.", "mostrecent",
        )  # fmt: skip
        self.day_tokens_spent = Gauge(
            r, NoLabels, "lrgd_learning_day_tokens_spent",
            "Tokens of this UTC day that rounds which start by themselves have spent, or may.",
            "mostrecent",
        )  # fmt: skip
        self.day_tokens_allowed = Gauge(
            r, NoLabels, "lrgd_learning_day_tokens_allowed",
            "Tokens that they may spend on one UTC day; 0: none start by themselves.", "mostrecent",
        )  # fmt: skip

        self.round_effect_d = Histogram(
            r, LearnedLabels, "lrgd_round_effect_d",
            "Mean Effect_D, on held-out events, of what a path wrote in a round of its user, by "
            "what became of it: accepted, rejected, or screened_out after the first draw.",
            buckets=EFFECT_D_BUCKETS,
        )  # fmt: skip
        self.round_log_loss = Histogram(
            r, LearnedLabels, "lrgd_round_log_loss",
            "Minus the mean log-score of the same: what is summed up may not fall.",
            buckets=LOG_LOSS_BUCKETS,
        )  # fmt: skip
        self.served_effect_d = Histogram(
            r, ServedLabels, "lrgd_served_effect_d",
            "Mean Effect_D, on held-out events, of what is served after a round (served: best), "
            "and of zero-shot on the same.",
            buckets=EFFECT_D_BUCKETS,
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

    def _of_the_model(self, r: CollectorRegistry) -> None:
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
        return generate_latest(self._registry if shared_folder() is None else _Shared())

    content_type = CONTENT_TYPE_LATEST


def serve_shared_metrics(port: int) -> None:
    """/metrics of a deployable that has no HTTP server, in a thread of its parent process."""
    registry = CollectorRegistry()
    registry.register(_Shared())
    prometheus.start_http_server(port, registry=registry)


class _Shared(Collector):
    """What the living processes of this deployable have counted, and what the dead ones had."""

    def collect(self) -> Iterable[Metric]:
        folder = shared_folder()
        assert folder is not None, "only who shares its metrics has them together"
        forget_dead_processes(folder)
        together = multiprocess.MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]
        metrics: Iterable[Metric] = together.collect()  # type: ignore[no-untyped-call]
        return metrics
