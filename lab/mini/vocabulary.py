"""What the tokenizer is trained on: titles, prompts of all kinds, and demonstrations."""

from __future__ import annotations

import numpy as np

from lab.mini.corpus import Corpus, titles_of
from lab.mini.moments import candidates_of, taught_moments
from lab.mini.tokenizer import MiniTokenizer
from lab.shop.taste import Shop
from services.prompts import Lead, Mode, PromptFormat, PromptRequest, TemplateName, compose

_MOMENTS = 1_500


def vocabulary_texts(shop: Shop, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    corpus = Corpus(shop, _NoTokenizer())
    texts = [text for item in shop.catalog.items for text in (item.title, f" {item.title}")]
    moments = taught_moments(shop, rng)
    forms = [
        PromptFormat(template, mode, lead=lead)
        for template in TemplateName
        for mode in Mode
        for lead in Lead
    ]
    for number in range(_MOMENTS):
        moment = next(moments)
        request = PromptRequest(
            titles_of(shop.catalog, moment.past),
            titles_of(shop.catalog, candidates_of(moment, 10, rng)),
            demonstrated=corpus.demonstrated(moment, 2, rng, perturbed=0.2),
        )
        form = forms[number % len(forms)]
        chat = compose(form, request, corpus.tokenizer.count).chat()
        asked, demonstration = corpus.generator_task(moment, rng)
        texts += [chat.messages[0].content, chat.lead, asked.messages[0].content]
        texts += [demonstration.as_json()]
    return texts


class _NoTokenizer(MiniTokenizer):
    """Stands in before there is one: to it, every text is short enough."""

    def __init__(self) -> None:
        pass

    def count(self, text: str) -> int:
        return len(text) // 8
