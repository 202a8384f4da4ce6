"""Is everybody answered, how fast, and by the model?"""

from __future__ import annotations

from lab.observability.panels import (
    Dashboard,
    Row,
    Unit,
    Variable,
    panel,
    quantile,
    rate,
    share,
)

OURS = 'job=~"$job"'
REQUESTS, SECONDS = "lrgd_http_requests_total", "lrgd_http_request_seconds"
LISTS, LIST_SECONDS = "lrgd_recommendations_total", "lrgd_recommendation_seconds"

OBJECTIVES = Row(
    "Objectives",
    (
        panel(
            "Error budget burnt, times what is allowed",
            "Above 1 the objective will be missed. 14 for an hour pages: see the row below for "
            "which routes, then the operations guide.",
            ("lrgd:slo_burn:1h", "{{slo}}, 1 h"),
            ("lrgd:slo_burn:6h", "{{slo}}, 6 h"),
        ),
        panel(
            "Objectives, and what is kept of them",
            "A line below its objective: that promise is being broken now.",
            ("1 - lrgd:slo_miss_ratio:1h", "{{slo}}, last hour"),
            ("max by (slo) (lrgd_slo_objective)", "{{slo}}, objective"),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "Parts that are ready",
            "0: the part did not answer the last check of /readyz, which says why.",
            (f"min by (part) (lrgd_part_ready{{{OURS}}})", "{{part}}"),
            most=1,
        ),
    ),
)

HTTP = Row(
    "Requests",
    (
        panel(
            "Requests by route",
            "A fall to nothing with callers still there: look at the proxy in front, then at up.",
            (rate(REQUESTS, "route", OURS), "{{route}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Answers that are no success, by route and status",
            "5xx: search the log for unexpected_error. 4xx of one route: a caller sends something "
            "wrong; the body of the answer says what.",
            (rate(REQUESTS, "route, status", f'{OURS}, status!~"2.."'), "{{route}} {{status}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Share of 5xx",
            "Anything but 0: is a part down (above)? A database that is down is 503.",
            (
                share(
                    f'sum(rate({REQUESTS}{{{OURS}, status=~"5.."}}[$__rate_interval])) '
                    "or vector(0)",
                    f"sum(rate({REQUESTS}{{{OURS}}}[$__rate_interval]))",
                ),
                "5xx",
            ),
            unit=Unit.SHARE,
        ),
        panel(
            "Latency by route, median",
            "Up for all routes: the machine or the database. For lists only: the model.",
            (quantile(0.5, SECONDS, "route", OURS), "{{route}}"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Latency by route, 99th percentile",
            "Of lists it cannot be far above their deadline; if it is, the event loop is blocked: "
            "start more gateway processes.",
            (quantile(0.99, SECONDS, "route", OURS), "{{route}}"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Requests refused (429), and why",
            "Over the rate limit: raise LRGD_RATE_LIMIT_PER_MINUTE or talk to the caller. Too many "
            "at once: more gateways, or a faster model.",
            (f"sum(rate(lrgd_rate_limited_total{{{OURS}}}[$__rate_interval]))", "rate limit"),
            (
                f"sum(rate(lrgd_recommendations_refused_total{{{OURS}}}[$__rate_interval]))",
                "too many at once",
            ),
            (
                f"sum(rate(lrgd_rate_limit_unchecked_total{{{OURS}}}[$__rate_interval]))",
                "let through unchecked: Redis is down",
            ),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Requests in flight",
            "Near the number of gateway processes times LRGD_RECOMMEND_AT_ONCE: 429s are next.",
            (f"sum by (instance) (lrgd_http_requests_in_flight{{{OURS}}})", "{{instance}}"),
        ),
    ),
)

MADE = Row(
    "Lists",
    (
        panel(
            "Lists by source",
            "Anything but model is a fallback: the next panel says why.",
            (rate(LISTS, "source", OURS), "{{source}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Degraded lists by reason",
            "timeout: the model is too slow for the deadline. unavailable, circuit_open: it is "
            "down. no_candidates: the catalog is empty.",
            (
                rate("lrgd_recommendations_degraded_total", "source, reason", OURS),
                "{{reason}}, from {{source}}",
            ),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Share of lists from the model",
            "Below the objective: as above. Users then get what retrieval knows, not what the "
            "model has learned about them.",
            (
                share(
                    f'sum(rate({LISTS}{{{OURS}, source="model"}}[$__rate_interval])) or vector(0)',
                    f"sum(rate({LISTS}{{{OURS}}}[$__rate_interval]))",
                ),
                "from the model",
            ),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "Time to make a list by source, median",
            "model: see the dashboard of the engine. Fallbacks take as long as the deadline lets "
            "the model try.",
            (quantile(0.5, LIST_SECONDS, "source", OURS), "{{source}}"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Time to make a list by source, 99th percentile",
            "Near LRGD_RECOMMEND_DEADLINE_MS: lists are about to become degraded.",
            (quantile(0.99, LIST_SECONDS, "source", OURS), "{{source}}"),
            unit=Unit.SECONDS,
        ),
    ),
)

STORED = Row(
    "What is kept",
    (
        panel(
            "Rows received, by kind and outcome",
            "refused: the answer to the sender names the row and what is wrong with it.",
            (rate("lrgd_catalog_rows_total", "kind, status", OURS), "{{kind}} {{status}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "User states in Redis, by outcome",
            "Many misses: the cache is too small or expires too soon (LRGD_USER_STATE_SECONDS). "
            "not_raised: a rollback may be seen late.",
            (rate("lrgd_user_states_total", "outcome", OURS), "{{outcome}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Replies kept under their id, by outcome",
            "Lost ones cannot be explained later, nor joined to events: the database is too slow.",
            (rate("lrgd_replies_total", "outcome", OURS), "{{outcome}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Jobs that could not be queued",
            "The broker's Redis is down. Nothing is lost: beat asks again within a minute.",
            (rate("lrgd_jobs_lost_total", "task", OURS), "{{task}}"),
            unit=Unit.PER_SECOND,
        ),
    ),
)

SERVICE = Dashboard(
    "lrgd-service",
    "LRGD: service",
    "Is everybody answered, how fast, and by the model?",
    (OBJECTIVES, HTTP, MADE, STORED),
    (Variable("job", "Job", REQUESTS),),
)
