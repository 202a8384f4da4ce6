"""The prompt of a user as it would be sent now, for an operator who wants to see what is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.demonstrations.variant import ServedVariant
from services.errors import Conflict, Unavailable
from services.llm.deadline import Deadline
from services.llm.errors import ModelError
from services.llm.port import Terms
from services.prompts import Prompt, PromptTooLong
from services.ranking import Ranker
from services.recommendations.experiments import Experiments
from services.recommendations.meeting import Meeting, Met, ranking_request
from services.recommendations.policy import RankingPolicy, Regularizing, method_in_force
from services.recommendations.wanted import Wanted

# Somebody who looks can wait for the model to be loaded.
SECONDS = 30.0


@dataclass(frozen=True)
class ServedPrompt:
    """Tokens are by segment; the fingerprint is that under which a demonstration must have been
    judged to be no stale one."""

    prompt: Prompt
    segment_tokens: Sequence[int]
    fingerprint: str
    variant: ServedVariant | None


class ServedPrompts:
    def __init__(
        self,
        meeting: Meeting,
        ranker: Ranker,
        experiments: Experiments,
        policy: RankingPolicy,
        regularization: Regularizing,
    ) -> None:
        self._meeting = meeting
        self._ranker = ranker
        self._experiments = experiments
        self._policy = policy
        self._regularization = regularization

    async def of(self, user_id: str) -> ServedPrompt:
        """The model is not asked, and nothing is counted or kept. Raises Unavailable for what is
        down, and Conflict where the model would not be asked either."""
        wanted, deadline = Wanted(user_id), Deadline.after(SECONDS)
        assigned = self._experiments.assigned(wanted)
        policy = self._policy if assigned is None else assigned.arm.over(self._policy)
        met = await self._meeting.meet(wanted, deadline)
        if met.instead is not None:
            raise Unavailable("the database does not answer; try again")
        if met.nothing_to_tell_apart:
            raise Conflict(
                "the model is not asked for this user: there are no two candidates to tell apart. "
                "Store items with titles (POST /items)"
            )
        try:
            return await self._composed(met, policy, Terms(deadline))
        except ModelError as error:
            raise Unavailable(f"the model cannot be asked how it counts: {error}") from None
        except PromptTooLong as error:
            raise Conflict(f"the model is not asked for this user: {error}") from None

    async def _composed(self, met: Met, policy: RankingPolicy, terms: Terms) -> ServedPrompt:
        variant, model = policy.variant(met.state.variants), self._ranker.model
        now = await method_in_force(model, policy, self._regularization, terms)
        prompt = await self._ranker.prompt(ranking_request(met, variant), now.method, terms)
        count = await model.counter(terms)
        return ServedPrompt(
            prompt=prompt,
            segment_tokens=[count(one.text) for one in prompt.segments],
            fingerprint=now.fingerprint.digest,
            variant=None if prompt.shortened.demonstration_refused else variant,
        )
