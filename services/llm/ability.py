"""What a model server may or may not be able to do, and what each lack costs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ability(StrEnum):
    LABEL_LOGPROBS = "label_logprobs"
    TOP_LOGPROBS = "top_logprobs"
    TITLE_LIKELIHOOD = "title_likelihood"
    CHOICE = "choice"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    PREFILL = "prefill"
    TOKENIZE = "tokenize"
    BATCH = "batch"
    PRIORITY = "priority"
    CACHED_TOKENS = "cached_tokens"
    THINKING_SWITCH = "thinking_switch"


class Outcome(StrEnum):
    """What became of a request that asked for an ability."""

    HONORED = "honored"
    IGNORED = "ignored"
    REFUSED = "refused"
    UNTESTED = "untested"


# In the words of what a user of the system would notice.
COST = {
    Ability.LABEL_LOGPROBS: "first_token falls back to the server's top log-probs, or without "
    "them is off",
    Ability.TOP_LOGPROBS: "first_token is off unless label_logprobs is there: every list is "
    "written token by token, which takes several times as long",
    Ability.TITLE_LIKELIHOOD: "the likelihood mode is off",
    Ability.CHOICE: "answers that must be one of a few are checked only after they are written; "
    "wrong ones are asked for again",
    Ability.JSON_SCHEMA: "demonstrations are checked only after they are written; malformed ones "
    "are asked for again, up to a bound, and then the path keeps what it has",
    Ability.REGEX: "lists in the generate mode are checked only after they are written; what is "
    "missing in them ranks last",
    Ability.PREFILL: "prompts with a lead cannot be used: choose a template without one",
    Ability.TOKENIZE: "labels cannot be asserted to be one token, label_logprobs cannot be used, "
    "and prompts cannot be cut to fit before they are sent",
    Ability.BATCH: "r permutations of a list are r requests",
    Ability.PRIORITY: "unless the server orders by priority, live requests wait there behind "
    "learning rounds; our own queue lets them pass in any case",
    Ability.CACHED_TOKENS: "what the prefix cache saves is not known, so budgets count cached "
    "tokens as if they were computed",
    Ability.THINKING_SWITCH: "none, if the model does not think before it answers; if it does, "
    "every answer begins with its thoughts",
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What was found about one ability; `cost` is empty where nothing is lacking."""

    ability: Ability
    outcome: Outcome
    detail: str = ""

    @property
    def cost(self) -> str:
        return "" if self.outcome is Outcome.HONORED else COST[self.ability]
