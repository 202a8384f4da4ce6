"""Labels that the served tokenizer writes as one token, at the place where they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from services.llm.ability import Ability
from services.llm.chat import Chat
from services.llm.errors import LabelsUnfit
from services.llm.port import MAX_LABELS, Labels, LanguageModel, Terms

_AT_ONCE = 16


async def find_labels(
    model: LanguageModel, chat: Chat, texts: Sequence[str], terms: Terms, *, at_least: int = 2
) -> Labels:
    """The texts that are one token of their own after this chat, in order, at most 128.

    What counts is the context: a tokenizer may join a label with the end of the lead, or write it
    in two pieces. After a lead that ends in a word, give the texts with their space in front. The
    chat need not be a whole prompt, only end like one.
    """
    engine = await model.describe(terms)
    if not engine.capabilities.has(Ability.TOKENIZE):
        return Labels(tuple(texts[:MAX_LABELS]), None)
    before = await model.tokenize(chat, terms)

    async def with_label(text: str) -> tuple[int, ...]:
        if engine.capabilities.has(Ability.PREFILL):
            return await model.tokenize(replace(chat, lead=chat.lead + text), terms)
        # Then the label begins the answer, right behind the template's own last token.
        return before + await model.tokenize(text, terms)

    found: dict[int, str] = {}
    for start in range(0, len(texts), _AT_ONCE):
        group = texts[start : start + _AT_ONCE]
        tokenized = await asyncio.gather(*map(with_label, group))
        for text, after in zip(group, tokenized, strict=True):
            if after[:-1] == before:
                found.setdefault(after[-1], text)
    if len(found) < at_least:
        refused = [text for text in texts if text not in found.values()]
        raise LabelsUnfit(
            f"only {len(found)} of {len(texts)} labels are one token after this prompt, "
            f"{at_least} are needed; not: {', '.join(map(repr, refused[:8]))}. "
            "Choose other labels, or a lead after which they stand alone"
        )
    kept = list(found.items())[:MAX_LABELS]
    return Labels(tuple(text for _, text in kept), tuple(number for number, _ in kept))
