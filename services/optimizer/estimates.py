"""What calls of the model may cost at most: known before they are made."""

from __future__ import annotations

from collections.abc import Sequence

from services.llm.port import Count
from services.optimizer.rules import Cost
from services.prompts import Lead
from services.ranking import Method, RankingRequest
from services.ranking.ranker import REASONING_TOKENS

# Of a prompt, beside the texts that are counted: the instruction and what stands between them.
FRAME_TOKENS = 320


def most_cost(requests: Sequence[RankingRequest], method: Method, count: Count) -> Cost:
    """Of ranking all of these. What they have in common is not taken off."""
    cost = Cost()
    for request in requests:
        asked = 2 if request.demonstrated is not None and method.step_size < 1 else 1
        prompts = asked * (method.permutations + (1 if method.calibrated else 0))
        tokens = most_tokens(request, count)
        if method.form.lead is Lead.REASONING:
            prompts += asked
            tokens += REASONING_TOKENS
        cost += Cost(prompts, prompts * tokens)
    return cost


def most_tokens(request: RankingRequest, count: Count) -> int:
    """Rather too many: what is reserved bounds what is spent."""
    texts = [title for title in request.history if title]
    texts += [one.title for one in request.candidates if one.title]
    shown = request.demonstrated
    if shown is not None:
        texts += [text for text in (shown.current, shown.perturbation) if text is not None]
    return FRAME_TOKENS + count("\n".join(texts)) + 6 * len(texts)
