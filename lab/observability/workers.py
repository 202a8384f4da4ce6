"""Do workers take what waits for them, and how long does it take them?"""

from __future__ import annotations

from lab.observability.panels import Dashboard, Row, Unit, Variable, panel, quantile, rate

OURS = 'job=~"$job"'

QUEUE = Row(
    "Is work taken",
    (
        panel(
            "Rounds that wait for a worker",
            "Grows for long: more workers, if the model has room; this is the figure to scale "
            "workers on.",
            (f"max(lrgd_rounds_backlog{{{OURS}}})", "backlog"),
        ),
        panel(
            "Age of the last heartbeat",
            "It goes through beat, broker and worker. Above 10 s with workers up: they live and "
            "take nothing; restart them.",
            ("max(lrgd_worker_heartbeat_age_seconds)", "age"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Workers that are up",
            "Fewer than you started: look at their logs, and at what the kernel killed for memory.",
            (f"sum by (job) (up{{{OURS}}})", "{{job}}"),
        ),
        panel(
            "Rounds that ended, by outcome",
            "Nothing with a backlog: the model is down (parked, beside) or workers are stuck.",
            (rate("lrgd_rounds_total", "outcome", OURS), "{{outcome}}"),
            unit=Unit.RATE,
        ),
        panel(
            "Rounds put back, by why",
            "parked: the model did not answer. expired: a worker died. failed: the log has the "
            "error.",
            (rate("lrgd_rounds_put_back_total", "reason", OURS), "{{reason}}"),
            unit=Unit.RATE,
        ),
        panel(
            "Leases that expired",
            "Workers die in the middle of rounds, or are so slow that they look dead "
            "(LRGD_LEARNING_LEASE_SECONDS).",
            (f"sum(increase(lrgd_lease_expiries_total{{{OURS}}}[1h]))", "in the last hour"),
            unit=Unit.COUNT,
        ),
    ),
)

DURATIONS = Row(
    "How long it takes",
    (
        panel(
            "Steps of a round, median",
            "write is generation, judge_* is ranking: slower than usual is the model, or live "
            "traffic that rounds give way to. decide is the database.",
            (quantile(0.5, "lrgd_round_step_seconds", "step", OURS), "{{step}}"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Steps of a round, 95th percentile",
            "At 300 s a step gives up and its round is parked.",
            (quantile(0.95, "lrgd_round_step_seconds", "step", OURS), "{{step}}"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Jobs by outcome",
            "failed: the worker's log has the error; beat sends every job again.",
            (rate("lrgd_jobs_total", "task, outcome", OURS), "{{task}} {{outcome}}"),
            unit=Unit.RATE,
        ),
        panel(
            "Time of a job, 95th percentile",
            "advance_rounds works for two seconds and then ends what it has taken up; others "
            "should take well below a second.",
            (quantile(0.95, "lrgd_job_seconds", "task", OURS), "{{task}}"),
            unit=Unit.SECONDS,
        ),
    ),
)

KEEPING = Row(
    "Sweeper and indexes",
    (
        panel(
            "Sweeps of the ledger per minute",
            "Every 30 s. None: beat is down, and rounds of dead workers wait for the next claim.",
            (
                f'60 * sum(rate(lrgd_jobs_total{{{OURS}, task="sweep_ledger"}}[5m]))',
                "sweeps",
            ),
        ),
        panel(
            "Age of the co-visitation index",
            "Minutes old: refreshes fail or do not keep up with events; candidates are stale.",
            (f"time() - max(lrgd_covisit_refreshed_timestamp_seconds{{{OURS}}})", "age"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Time of a refresh of the co-visitation index, 95th percentile",
            "Grows with the events that came since; more than its slice of 2 s takes several.",
            (quantile(0.95, "lrgd_covisit_refresh_seconds", "", OURS), "refresh"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Pairs in the co-visitation index",
            "0 with events in the database: the index was never built; `lrgd retrieval` rebuilds "
            "it.",
            (f"max(lrgd_covisit_pairs{{{OURS}}})", "pairs"),
            unit=Unit.COUNT,
        ),
    ),
)

WORKERS = Dashboard(
    "lrgd-workers",
    "LRGD: workers",
    "Do workers take what waits for them, and how long does it take them?",
    (QUEUE, DURATIONS, KEEPING),
    (Variable("job", "Job", "lrgd_job_seconds_count"),),
)
