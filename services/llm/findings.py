"""What the probe found out about a server: how to speak to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.llm.ability import Ability, Observation, Outcome
from services.llm.chat import Chat
from services.llm.errors import AbilityMissing
from services.llm.port import (
    MAX_LABELS,
    Capabilities,
    Constraint,
    Engine,
    EngineFingerprint,
    LabelSource,
    Priority,
)
from services.llm.wire import ConstraintField, messages, turn

LEVEL = {
    LabelSource.EXACT: "first_token reads the log-prob of every label",
    LabelSource.TOP: "first_token reads the labels among the server's top log-probs, and knows of "
    "the others only that they are less likely",
    LabelSource.NONE: "first_token is off: lists are written token by token",
}


@dataclass(frozen=True)
class Findings:
    fingerprint: EngineFingerprint
    observations: tuple[Observation, ...]
    top_logprobs: int
    tokens_by_id: bool
    exact_labels: int
    extended_sampling: bool
    constraint_field: ConstraintField
    thinking_switches: tuple[str, ...]
    context_tokens: int | None
    system_fingerprint: str | None

    @property
    def engine(self) -> Engine:
        source = self.label_source
        most = {
            LabelSource.EXACT: self.exact_labels,
            LabelSource.TOP: MAX_LABELS,
            LabelSource.NONE: 0,
        }
        return Engine(
            self.fingerprint,
            Capabilities(source, most[source], self.context_tokens, self.observations),
        )

    @property
    def label_source(self) -> LabelSource:
        # Without a tokenizer, nobody knows the ids to ask for.
        if self.exact_labels and self.has(Ability.TOKENIZE):
            return LabelSource.EXACT
        return LabelSource.TOP if self.top_logprobs else LabelSource.NONE

    def outcome(self, ability: Ability) -> Outcome:
        return next(seen.outcome for seen in self.observations if seen.ability is ability)

    def has(self, ability: Ability) -> bool:
        return self.outcome(ability) is Outcome.HONORED

    def keeps_to(self, constraint: Constraint) -> bool:
        return self.has(constraint.ability)

    def chat_fields(self, chats: Sequence[Chat], priority: Priority) -> dict[str, Any]:
        """Everything about the prompts but the messages themselves."""
        with_lead = any(chat.lead for chat in chats)
        if with_lead and not self.has(Ability.PREFILL):
            raise AbilityMissing(
                Ability.PREFILL,
                "the model server cannot continue an assistant turn: use a template without a lead",
            )
        fields: dict[str, Any] = dict(turn(with_lead=with_lead))
        if self.thinking_switches:
            fields["chat_template_kwargs"] = dict.fromkeys(self.thinking_switches, False)
        if priority is not Priority.LIVE and self.outcome(Ability.PRIORITY) is not Outcome.REFUSED:
            fields["priority"] = int(priority)
        return fields

    def tokenize_fields(self, chat: Chat) -> dict[str, Any]:
        fields = self.chat_fields([chat], Priority.LIVE)
        return {"messages": messages(chat), **fields}
