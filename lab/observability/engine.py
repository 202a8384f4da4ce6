"""The language model: the server's own view (vLLM), then ours of it."""

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

THEIRS = 'job=~"$vllm", model_name=~"$model"'
OURS = 'job=~"$job"'


def summed(counter: str, where: str = THEIRS) -> str:
    return f"sum(rate({counter}{{{where}}}[$__rate_interval]))"


VLLM = Row(
    "vLLM",
    (
        panel(
            "Time to first token",
            "Ranking is one token, so this is what a list waits. Up with the queue: more replicas. "
            "Up alone: prompts grew, or the prefix cache misses.",
            *(
                (quantile(at, "vllm:time_to_first_token_seconds", "", THEIRS), name)
                for at, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ),
            unit=Unit.SECONDS,
        ),
        panel(
            "Time in the queue",
            "More than a few hundredths of a second at the median: the server is full. Rounds wait "
            "by priority; lists should not.",
            *(
                (quantile(at, "vllm:request_queue_time_seconds", "", THEIRS), name)
                for at, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ),
            unit=Unit.SECONDS,
        ),
        panel(
            "Requests running and waiting",
            "Waiting for minutes: add a replica; this is the figure to scale vLLM on.",
            (f"sum(vllm:num_requests_running{{{THEIRS}}})", "running"),
            (f"sum(vllm:num_requests_waiting{{{THEIRS}}})", "waiting"),
        ),
        panel(
            "Prefix cache: share of prompt tokens found",
            "Falls: are users sent to the replica that knows them? Is the cache too small, or has "
            "the regularization changed a moment ago?",
            (
                share(
                    summed("vllm:prefix_cache_hits_total"),
                    summed("vllm:prefix_cache_queries_total"),
                ),
                "found",
            ),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "KV cache in use",
            "Near 1 with preemptions: fewer sequences at once, shorter contexts, or more memory "
            "for the cache.",
            (f"max by (engine) (vllm:kv_cache_usage_perc{{{THEIRS}}})", "engine {{engine}}"),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "Preemptions",
            "Anything but 0 for long: work is done twice. The cache is too small.",
            (summed("vllm:num_preemptions_total"), "preemptions"),
            unit=Unit.RATE,
        ),
        panel(
            "Tokens",
            "cached is part of prompt. Generated tokens are what rounds write: they cost most.",
            (summed("vllm:prompt_tokens_total"), "prompt"),
            (summed("vllm:prompt_tokens_cached_total"), "cached"),
            (summed("vllm:generation_tokens_total"), "generated"),
            unit=Unit.RATE,
        ),
        panel(
            "Requests by how they ended",
            "abort: we stopped waiting. length: a text was cut off; give it more tokens.",
            (rate("vllm:request_success_total", "finished_reason", THEIRS), "{{finished_reason}}"),
            unit=Unit.PER_SECOND,
        ),
    ),
)

CALLS = Row(
    "Our calls",
    (
        panel(
            "Calls by kind and outcome",
            "timeout: deadlines are too short for this model. unavailable, circuit_open: it is "
            "down. abandoned: the caller went away.",
            (rate("lrgd_llm_calls_total", "kind, outcome", OURS), "{{kind}} {{outcome}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Time of a call by kind, 95th percentile",
            "Far above the server's own times: calls wait in our gate (in flight, below).",
            (quantile(0.95, "lrgd_llm_call_seconds", "kind", OURS), "{{kind}}"),
            unit=Unit.SECONDS,
        ),
        panel(
            "Rankings by mode, and who chose it",
            "A mode of settings that is not the configured one: the probe did not find what it "
            "needs. `lrgd doctor` says what.",
            (rate("lrgd_rankings_total", "mode, chosen_by", OURS), "{{mode}}, by {{chosen_by}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Written lists by how they could be read",
            "Only the mode generate writes lists. malformed, out_of_list: the server does not keep "
            "to constraints.",
            (rate("lrgd_written_lists_total", "reading", OURS), "{{reading}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Malformed answers by kind and flaw",
            "Anything but nothing: the server answers otherwise than it did when it was probed. "
            "Was it updated?",
            (rate("lrgd_llm_malformed_total", "kind, flaw", OURS), "{{kind}} {{flaw}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Retries by reason",
            "status_429 and status_503: the server is overloaded. connection: it restarts, or the "
            "network breaks.",
            (rate("lrgd_llm_retries_total", "reason", OURS), "{{reason}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Circuit breaker",
            "0 closed, 1 half-open, 2 open: at 2 nothing is sent to the model for a while.",
            (f"max by (job) (lrgd_llm_breaker_state{{{OURS}}})", "{{job}}"),
            most=2,
        ),
        panel(
            "Calls in flight",
            "At LRGD_LLM_IN_FLIGHT: calls wait in our gate. Raise it if the server is not full.",
            (f"sum by (job) (lrgd_llm_in_flight{{{OURS}}})", "{{job}}"),
        ),
        panel(
            "Calls refused because too many wait",
            "live ones are lists that become degraded: the model is too slow for this traffic.",
            (rate("lrgd_llm_queue_refused_total", "priority", OURS), "{{priority}}"),
            unit=Unit.PER_SECOND,
        ),
        panel(
            "Tokens by kind and part",
            "labels are rankings, generate is what rounds write.",
            (rate("lrgd_llm_tokens_total", "kind, part", OURS), "{{kind}} {{part}}"),
            unit=Unit.RATE,
        ),
        panel(
            "Share of prompt tokens that were cached",
            "As the replies say, ours alone: another user of the same server does not show here.",
            (
                share(
                    summed("lrgd_llm_tokens_total", f'{OURS}, part="cached"'),
                    summed("lrgd_llm_tokens_total", f'{OURS}, part="prompt"'),
                ),
                "cached",
            ),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "What the model can do",
            "0: the probe did not find the ability; `lrgd doctor` says what that costs.",
            (f"min by (ability) (lrgd_llm_ability{{{OURS}}})", "{{ability}}"),
            most=1,
        ),
    ),
)

ENGINE = Dashboard(
    "lrgd-engine",
    "LRGD: LLM engine",
    "The language model: the server's own view (vLLM), then ours of it.",
    (VLLM, CALLS),
    (
        Variable("job", "Our job", "lrgd_llm_calls_total"),
        Variable("vllm", "vLLM's job", "vllm:num_requests_running"),
        Variable("model", "Model", "vllm:num_requests_running", of="model_name"),
    ),
)
