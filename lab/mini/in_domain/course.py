"""How a model of one's own data is taught: the next title, behind histories and demonstrations; and
to write demonstrations. Labels are not taught: it ranks by likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab.evaluation.judging import judged
from lab.metrics import ndcg
from lab.mini.corpus import Example, laid_out
from lab.mini.in_domain.describing import Chosen, describe
from lab.mini.in_domain.shoppers import Shoppers
from lab.mini.model import Mini
from lab.mini.tokenizer import END, MiniTokenizer
from lab.mini.training import Progress
from lab.mini.watching import likelihoods
from services.demonstrations.generation import View, generator_prompt
from services.demonstrations.snapshot import PastItem, Snapshot
from services.prompts import (
    Demonstrated,
    Limits,
    Mode,
    PromptFormat,
    PromptRequest,
    SegmentName,
    compose,
)

VOCABULARY = 6_144
STEP_TOKENS = 4_096
# Of the examples: those that write a demonstration; of the others those in brief prompts, and those
# with a demonstration of what lies before a shorter window.
WRITING, BRIEF, DESCRIBED = 0.06, 0.7, 0.3
CUTOFF = 10


class InDomainCourse:
    name = "in-domain"

    def __init__(self, shoppers: Shoppers, out: Path, watched_users: int = 100) -> None:
        self.shoppers = shoppers
        self.tokenizer = MiniTokenizer.kept(out, lambda: _texts(shoppers), VOCABULARY)
        self._watched_users = watched_users

    def examples(self, progress: Progress, rng: np.random.Generator) -> Iterator[Example]:  # noqa: ARG002
        """Everybody once, in a new order every time."""
        sequences = self.shoppers.sequences
        while True:
            for user in rng.permutation(len(sequences)).tolist():
                yield self._example(sequences[user], rng)

    def advance(self, progress: Progress) -> bool:  # noqa: ARG002 - one thing is taught throughout
        return False

    def step_tokens(self, progress: Progress) -> int:  # noqa: ARG002
        return STEP_TOKENS

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def watched(
        self,
        model: Mini,
        progress: Progress,  # noqa: ARG002
        forward: Callable[[Tensor], Tensor],  # noqa: ARG002
    ) -> dict[str, float]:
        """nDCG@10 by likelihood on validation targets, which are not taught."""
        watched = self.shoppers.watched.first(self._watched_users)
        gains = []
        for question in watched.questions:
            history, candidates = self.shoppers.question_titles(question)
            prompt = compose(
                PromptFormat(mode=Mode.LIKELIHOOD),
                PromptRequest(tuple(history), tuple(candidates)),
                self.tokenizer.count,
            )
            answers = [self._answer(prompt.continued(title)) for title in prompt.titles]
            scores = likelihoods(model, laid_out(self.tokenizer, prompt)[0], answers).tolist()
            target = watched.targets[question.user_id]
            gains.append(ndcg(judged(question, scores, target).rank, CUTOFF))
        return {"likelihood@50.zero_shot": round(float(np.mean(gains)), 4)}

    def _example(self, items: Sequence[str], rng: np.random.Generator) -> Example:
        # Mostly all that is known of them; what comes before is predicted on the way.
        end = len(items) if rng.random() < 0.7 else int(rng.integers(2, len(items) + 1))
        items = items[:end]
        if len(items) > 4 and rng.random() < WRITING * 2:
            return self._writing(items, rng)
        return self._choosing(items, rng)

    def _choosing(self, items: Sequence[str], rng: np.random.Generator) -> Example:
        titles = self.shoppers.titles
        *past, chosen = items
        window, demonstrated = 10, None
        if len(past) > 3 and rng.random() < DESCRIBED:
            window = int(rng.integers(1, min(10, len(past) - 2) + 1))
            demonstrated = self._described(past[:-window], rng)
        form = PromptFormat(mode=Mode.LIKELIHOOD, limits=Limits(history_items=window))
        if rng.random() < 0.05:
            form = replace(form, regularization=None)
        request = PromptRequest(
            tuple(titles[item] for item in past), (titles[chosen],), demonstrated=demonstrated
        )
        prompt = compose(form, request, self.tokenizer.count)
        ids, at = laid_out(self.tokenizer, prompt, brief=rng.random() < BRIEF)
        example = Example(ids)
        lines = at.get(SegmentName.HISTORY, [])
        shown = [place for line in lines for place in range(line.start, line.stop - 1)]
        begin = len(example.ids)
        example.ids.extend(self._answer(prompt.continued(prompt.titles[0])))
        answered = range(begin - 1, len(example.ids) - 1)
        # Every word of a title weighs the same, whichever title it is of.
        example.expect([*shown, *answered], len(shown) / 20 + len(answered) / 10)
        return example

    def _writing(self, items: Sequence[str], rng: np.random.Generator) -> Example:
        titles, terms = self.shoppers.titles, self.shoppers.terms
        snapshot = Snapshot(tuple(PastItem(item, titles[item], {}) for item in items))
        view = View(window=int(rng.choice((20, 12, 8))))
        prompt = generator_prompt(snapshot, view, self.tokenizer.count)
        listed = items[-len(prompt.listed_titles) :]
        chosen = [
            Chosen(title, terms[item])
            for title, item in zip(prompt.listed_titles, listed, strict=True)
        ]
        ids = self.tokenizer.chat(prompt.chat)
        try:
            text = describe(chosen, rng).as_json()
        except ValueError:
            return self._choosing(items, rng)
        answer = [*self.tokenizer.encode(text), self.tokenizer.id(END)]
        example = Example([*ids, *answer])
        example.expect(range(len(ids) - 1, len(example.ids) - 1), len(answer) / 20)
        return example

    def _described(self, items: Sequence[str], rng: np.random.Generator) -> Demonstrated | None:
        titles, terms = self.shoppers.titles, self.shoppers.terms
        try:
            return Demonstrated(
                describe([Chosen(titles[item], terms[item]) for item in items], rng).as_text()
            )
        except ValueError:
            return None

    def _answer(self, text: str) -> list[int]:
        return [*self.tokenizer.encode(text), self.tokenizer.id(END)]


def _texts(shoppers: Shoppers) -> Iterator[str]:
    """Every title as often as a prompt may begin with it or go on with it; and some of all else."""
    rng = np.random.default_rng(0)
    for title in shoppers.titles.values():
        yield title
        yield f" {title}"
    for mode in Mode:
        for demonstrated in (None, Demonstrated("Likes: it.", "Likes: that.")):
            prompt = compose(
                PromptFormat(mode=mode), PromptRequest(("one", "two"), ("three",),
                demonstrated=demonstrated), len,
            )  # fmt: skip
            yield from [prompt.chat().messages[0].content] * 20
    longer = [items for items in shoppers.sequences if len(items) > 2]
    for place in rng.choice(len(longer), min(2_000, len(longer)), replace=False).tolist():
        items = longer[place]
        history = tuple(PastItem(item, shoppers.titles[item], {}) for item in items)
        asked = generator_prompt(Snapshot(history), View(), lambda text: len(text) // 8)
        yield asked.chat.messages[0].content
        chosen = [Chosen(shoppers.titles[item], shoppers.terms[item]) for item in items]
        try:
            described = describe(chosen, rng)
        except ValueError:
            continue
        yield described.as_json()
        yield described.as_text()
