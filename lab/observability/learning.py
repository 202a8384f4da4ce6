"""Do demonstrations get better, do people notice, and what does it cost?"""

from __future__ import annotations

from lab.observability.panels import Dashboard, Row, Unit, Variable, mean, panel, share

OURS = 'job=~"$job"'
# Rounds are rare beside requests: a shorter window would mostly be empty.
HOUR = "1h"


def hourly(counter: str, by: str, where: str = OURS) -> str:
    return f"sum by ({by}) (increase({counter}{{{where}}}[{HOUR}]))"


def total(counter: str, where: str = OURS) -> str:
    return f"sum(increase({counter}{{{where}}}[{HOUR}]))"


EFFECT = Row(
    "What rounds achieve on held-out events, last hour",
    (
        panel(
            "Effect_D of what is served, and of zero-shot, by round",
            "best is never below zero_shot. If they stay together, demonstrations do not help with "
            "this model: look at acceptance, then at docs/learning.md.",
            (mean("lrgd_served_effect_d", "served, round", OURS, HOUR), "{{served}}, {{round}}"),
            most=1,
        ),
        panel(
            "Effect_D of what paths wrote, by round and path",
            "Falls with the rounds: later texts are worse; fewer rounds cost less and lose little.",
            (
                mean("lrgd_round_effect_d", "path, round", OURS, HOUR),
                "path {{path}}, round {{round}}",
            ),
            most=1,
        ),
        panel(
            "Log-score of what paths wrote, by round and path",
            "It moves before Effect_D does. A jump for all paths: another model, or other prompts.",
            (
                "-1 * " + mean("lrgd_round_log_loss", "path, round", OURS, HOUR),
                "path {{path}}, round {{round}}",
            ),
            least=None,
        ),
        panel(
            "Effect_D by what became of the text",
            "accepted near rejected: held-out events tell texts apart badly; give users more of "
            "them, or more draws.",
            (mean("lrgd_round_effect_d", "outcome", OURS, HOUR), "{{outcome}}"),
            most=1,
        ),
    ),
)

PATHS = Row(
    "Paths, last hour",
    (
        panel(
            "Share of texts that were accepted, by path",
            "Near 0 for all: nothing better is found; ask for fewer rounds. Near 1: the noise "
            "floor is too low.",
            (
                share(
                    hourly("lrgd_round_texts_total", "path", f'{OURS}, outcome="accepted"'),
                    hourly("lrgd_round_texts_total", "path"),
                ),
                "path {{path}}",
            ),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "Texts by what became of them",
            "not_written: the guards refused what the model wrote; the round's notes say why.",
            (hourly("lrgd_round_texts_total", "outcome"), "{{outcome}}"),
            unit=Unit.COUNT,
        ),
        panel(
            "Similarity of a path's text to its last, mean",
            "Towards 1: paths repeat themselves; perturbations should follow.",
            (mean("lrgd_round_similarity", "path", OURS, HOUR), "path {{path}}"),
            most=1,
        ),
        panel(
            "Collapses by path",
            "Every round: the rule is too strict for this model (collapse settings of the run).",
            (hourly("lrgd_collapses_total", "path"), "path {{path}}"),
            unit=Unit.COUNT,
        ),
        panel(
            "Perturbations of collapsed paths",
            "nothing_to_borrow: no other path has a text yet; more paths help.",
            (hourly("lrgd_perturbations_total", "path, outcome"), "path {{path}} {{outcome}}"),
            unit=Unit.COUNT,
        ),
        panel(
            "Effective demonstrations of a user, mean",
            "0: generators have nothing good to learn from.",
            (
                share(total("lrgd_memory_size_sum"), total("lrgd_memory_size_count")),
                "in memory",
            ),
        ),
        panel(
            "Changes of what is served, by why",
            "Many rollbacks: people do not like what rounds switch on; look at online Effect_D.",
            (hourly("lrgd_switches_total", "reason"), "{{reason}}"),
            unit=Unit.COUNT,
        ),
    ),
)

COST = Row(
    "What it costs",
    (
        panel(
            "Rounds by outcome, last hour",
            "failed: GET /admin/runs/{id} names the reason. skipped: users with too few events.",
            (hourly("lrgd_rounds_total", "outcome"), "{{outcome}}"),
            unit=Unit.COUNT,
        ),
        panel(
            "Runs that ended, by outcome, last hour",
            "out_of_budget: give the run more, or ask for fewer users.",
            (hourly("lrgd_runs_total", "outcome"), "{{outcome}}"),
            unit=Unit.COUNT,
        ),
        panel(
            "Tokens per round, last hour",
            "cached is part of prompt and costs little. Little of it: the prefix cache misses; see "
            "the dashboard of the engine.",
            (
                f"sum by (part) (increase(lrgd_round_tokens_total{{{OURS}}}[{HOUR}])) / "
                f"on () group_left () ({total('lrgd_rounds_total')} > 0)",
                "{{part}}",
            ),
            unit=Unit.COUNT,
        ),
        panel(
            "Tokens per run, last hour",
            "The 90th percentile far above the median: some runs are much larger; do they have "
            "budgets?",
            *(
                (
                    f"histogram_quantile({at}, sum by (le) "
                    f"(increase(lrgd_run_tokens_bucket{{{OURS}}}[{HOUR}])))",
                    name,
                )
                for at, name in ((0.5, "median"), (0.9, "90th percentile"))
            ),
            unit=Unit.COUNT,
        ),
        panel(
            "Budgets used",
            "At 1 the day's automatic rounds stop until midnight UTC (LRGD_LEARNING_TOKENS_PER_DAY)"
            ", and a run ends out_of_budget.",
            (
                share(
                    f"max(lrgd_learning_day_tokens_spent{{{OURS}}})",
                    f"max(lrgd_learning_day_tokens_allowed{{{OURS}}})",
                ),
                "the day's tokens of automatic rounds",
            ),
            (f"max(lrgd_run_budget_used_ratio{{{OURS}}})", "the run nearest its end"),
            unit=Unit.SHARE,
        ),
        panel(
            "Automatic rounds: users by occasion, and left for later",
            "Many left for later: the day's tokens are too few for this traffic.",
            (hourly("lrgd_automatic_rounds_users_total", "outcome"), "{{outcome}}"),
            unit=Unit.COUNT,
        ),
        panel(
            "Users left for later, and calls lost",
            "Left for later: the day's tokens are spent. Lost calls were paid for and came to "
            "nothing: workers die, or are stopped in the middle.",
            (total("lrgd_automatic_rounds_refused_total"), "users left for later"),
            (total("lrgd_lost_calls_total"), "calls lost"),
            unit=Unit.COUNT,
        ),
    ),
)

ONLINE = Row(
    "What people answer, last hour",
    (
        panel(
            "Online Effect_D by experiment and arm",
            "Falls for all arms: the shop or the model changed. For one arm: end it "
            "(docs/experiments.md).",
            (
                mean("lrgd_online_effect_d", "experiment, arm", window=HOUR),
                "{{experiment}} {{arm}}",
            ),
            most=1,
        ),
        panel(
            "Hit rate by experiment and arm",
            "The share of answered lists whose answer was among the first ten.",
            (
                share(
                    hourly("lrgd_online_hits_total", "experiment, arm", ""),
                    hourly("lrgd_online_effect_d_count", "experiment, arm", ""),
                ),
                "{{experiment}} {{arm}}",
            ),
            unit=Unit.SHARE,
            most=1,
        ),
        panel(
            "Share of lists that were answered",
            "Near 0: events do not carry the recommendation_id of their list.",
            (
                share(
                    hourly("lrgd_online_effect_d_count", "experiment, arm", ""),
                    hourly("lrgd_recommendations_by_arm_total", "experiment, arm", ""),
                ),
                "{{experiment}} {{arm}}",
            ),
            unit=Unit.SHARE,
        ),
        panel(
            "Answers missing from these figures",
            "The database did not answer in time. The report of an experiment reads the events "
            "themselves and misses none.",
            (total("lrgd_online_answers_lost_total", ""), "lost"),
            unit=Unit.COUNT,
        ),
    ),
)

LEARNING = Dashboard(
    "lrgd-learning",
    "LRGD: learning",
    "Do demonstrations get better, do people notice, and what does it cost?",
    (EFFECT, PATHS, COST, ONLINE),
    (Variable("job", "Job of the workers", "lrgd_round_step_seconds_count"),),
)
