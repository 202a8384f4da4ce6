"""What calls of the model may cost at most: known before they are made."""

from __future__ import annotations

from services.llm.port import Count
from services.ranking import RankingRequest

# Of a prompt, beside the texts that are counted: the instruction and what stands between them.
FRAME_TOKENS = 320


def most_tokens(request: RankingRequest, count: Count) -> int:
    """Rather too many: what is reserved bounds what is spent."""
    texts = [title for title in request.history if title]
    texts += [one.title for one in request.candidates if one.title]
    shown = request.demonstrated
    if shown is not None:
        texts += [text for text in (shown.current, shown.perturbation) if text is not None]
    return FRAME_TOKENS + count("\n".join(texts)) + 6 * len(texts)
