"""How a model of one's own data is taught: the next title, behind histories and demonstrations; and
to write demonstrations. Labels are not taught: it ranks by likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab.evaluation.judging import judged
from lab.metrics import ndcg
from lab.mini.batches import Batch, steps
from lab.mini.corpus import Example, laid_out
from lab.mini.in_domain.describing import Chosen, describe
from lab.mini.in_domain.meanings import give_meaning
from lab.mini.in_domain.shoppers import Shoppers
from lab.mini.model import Mini, prepare
from lab.mini.tokenizer import END, WHOLE_LINES, MiniTokenizer
from lab.mini.training import OtherCourse, Progress
from lab.mini.watching import likelihoods
from services.demonstrations.generation import View, ViewKind, generator_prompt
from services.demonstrations.snapshot import LEAST_HISTORY, PastItem, Snapshot
from services.prompts import (
    Demonstrated,
    Limits,
    Mode,
    PromptFormat,
    PromptRequest,
    SegmentName,
    compose,
)

# Beside the titles that are tokens.
VOCABULARY = 4_096
STEP_EXAMPLES, STEP_TOKENS = 192, 1_536
# Of the tokens, how many are of lives alone; of the examples after that, how many are still lives.
# Of the others some write a demonstration, and the rest choose: most behind a demonstration, or two
# where a prompt of paths has two.
PROMPTS_AFTER, LIVED = 0.25, 0.5
WRITING, DESCRIBED, PAIRED, NAMED = 0.12, 0.75, 0.35, 0.6
LONGEST, WINDOW = 40, 10
# Of a life's items so many are left out, in half of all lives: what follows still follows.
LEFT_OUT = 0.2
PER_WORD = 20
NEIGHBORS = 8
# Of the other tokens, those of more frequent items' titles are longer.
FREQUENT = 0.75
# What all prompts have in common counts as if so many of them were read.
AS_OFTEN = 1_000
CUTOFF = 10


class InDomainCourse:
    """First what follows what, from whole lives in few words; later, for the last of `tokens`, in
    the system's own prompts."""

    name = "in-domain"
    dropout = 0.25  # its users come round many times

    def __init__(
        self, shoppers: Shoppers, out: Path, tokens: int, watched_users: int = 100
    ) -> None:
        self.shoppers = shoppers
        self.tokenizer = MiniTokenizer.kept(
            out, lambda: _texts(shoppers), VOCABULARY, WHOLE_LINES, shoppers.names
        )
        if not all(map(self.tokenizer.knows, shoppers.names)):
            raise OtherCourse(out)
        self._lived_until = PROMPTS_AFTER * tokens
        self._watched_users = watched_users

    @property
    def data(self) -> str:
        return self.shoppers.digest

    def prepare(self, model: Mini) -> None:
        prepare(model)
        titles = self.shoppers.titles
        named = {title: self.tokenizer.id(title) for title in self.shoppers.names}
        lives = ([titles[item] for item in items] for items in self.shoppers.sequences)
        give_meaning(model.embed_tokens, named, lives)

    def steps(self, progress: Progress, rng: np.random.Generator) -> Iterator[Sequence[Batch]]:
        lived = 1.0 if progress.stage == "language" else LIVED
        examples = self._examples(lived, rng)
        return steps(examples, STEP_EXAMPLES, STEP_TOKENS, rng, self.tokenizer.id(END))

    def advance(self, progress: Progress) -> bool:
        if progress.stage == "prompts" or progress.tokens < self._lived_until:
            return False
        progress.stage = "prompts"
        return True

    def _examples(self, lived: float, rng: np.random.Generator) -> Iterator[Example]:
        """Everybody once, in a new order every time."""
        sequences = self.shoppers.sequences
        while True:
            for user in rng.permutation(len(sequences)).tolist():
                if rng.random() < lived:
                    yield self._lived(sequences[user], rng)
                else:
                    yield self._prompted(user, sequences[user], rng)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def watched(
        self,
        model: Mini,
        progress: Progress,
        forward: Callable[[Tensor], Tensor],  # noqa: ARG002
    ) -> dict[str, float]:
        """nDCG@10 by likelihood on validation targets, which are not taught; in as few words as
        what is being taught."""
        brief = progress.stage == "language"
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
            ids, _ = laid_out(self.tokenizer, prompt, brief=brief)
            scores = likelihoods(model, ids, answers).tolist()
            target = watched.targets[question.user_id]
            gains.append(ndcg(judged(question, scores, target).rank, CUTOFF))
        asked = "brief" if brief else "zero_shot"
        shown = max(len(question.candidates) for question in watched.questions)
        return {f"likelihood@{shown}.{asked}": round(float(np.mean(gains)), 4)}

    def _prompted(self, user: int, items: Sequence[str], rng: np.random.Generator) -> Example:
        # Mostly all that is known of them.
        end = len(items) if rng.random() < 0.5 else int(rng.integers(2, len(items) + 1))
        items = items[:end]
        if len(items) > 2 and rng.random() < WRITING:
            return self._writing(user, items, rng)
        return self._choosing(user, items, rng)

    def _lived(self, items: Sequence[str], rng: np.random.Generator) -> Example:
        """As a prompt's history, each title predicted from those before; the last is the answer."""
        if rng.random() < 0.5:
            kept = rng.random(len(items)) > LEFT_OUT
            items = [item for item, keep in zip(items, kept, strict=True) if keep] or items
        begin = int(rng.integers(0, max(1, len(items) - LONGEST + 1)))
        return self.life(items[begin : begin + LONGEST])

    def life(self, items: Sequence[str]) -> Example:
        return self._choice(items, None, LONGEST, brief=True)

    def _choosing(self, user: int, items: Sequence[str], rng: np.random.Generator) -> Example:
        *past, _ = items
        demonstrated, window = None, WINDOW
        if len(past) > 1 and rng.random() < DESCRIBED:
            # Of what lies before the window, where that is something; else of what is shown, too.
            window = int(rng.integers(1, WINDOW + 1)) if rng.random() < 0.5 else WINDOW
            older = past[:-window] if len(past) > window + 1 else past
            demonstrated = self._described(user, older, rng)
        regularized = rng.random() > 0.05
        return self._choice(items, demonstrated, window, regularized=regularized)

    def _choice(
        self,
        items: Sequence[str],
        demonstrated: Demonstrated | None,
        window: int,
        *,
        regularized: bool = True,
        brief: bool = False,
    ) -> Example:
        titles = self.shoppers.titles
        *past, chosen = items
        form = PromptFormat(mode=Mode.LIKELIHOOD, limits=Limits(history_items=window))
        if not regularized:
            form = replace(form, regularization=None)
        request = PromptRequest(
            tuple(titles[item] for item in past), (titles[chosen],), demonstrated=demonstrated
        )
        prompt = compose(form, request, self.tokenizer.count)
        ids, at = laid_out(self.tokenizer, prompt, brief=brief)
        example = Example(ids)
        shown = []
        if demonstrated is None:  # else it would be learned from a summary of itself
            lines = at.get(SegmentName.HISTORY, [])
            # And where a title ends: there the next line begins.
            shown = [place for line in lines for place in range(line.start, line.stop)]
            shown = shown[:-1]
        begin = len(example.ids)
        example.ids.extend(self._answer(prompt.continued(prompt.titles[0])))
        answered = range(begin - 1, len(example.ids) - 1)
        # Every word of a title weighs the same, whichever title it is of.
        example.expect([*shown, *answered], (len(shown) + len(answered)) / PER_WORD)
        return example

    def _writing(self, user: int, items: Sequence[str], rng: np.random.Generator) -> Example:
        shoppers = self.shoppers
        beside = shoppers.beside(user, items, NEIGHBORS) if rng.random() < NAMED else []
        snapshot = Snapshot(_past(shoppers, items), _past(shoppers, beside))
        kind = ViewKind.NEIGHBORS if beside else ViewKind.TITLES
        view = View(kind, window=int(rng.choice((20, 12, 8))))
        prompt = generator_prompt(snapshot, view, self.tokenizer.count)
        listed = items[-len(prompt.listed_titles) :]
        chosen = [
            Chosen(title, shoppers.terms[item])
            for title, item in zip(prompt.listed_titles, listed, strict=True)
        ]
        ids = self.tokenizer.chat(prompt.chat)
        try:
            text = describe(chosen, rng, _chosen(self.shoppers, beside)).as_json()
        except ValueError:
            return self._choosing(user, items, rng)
        answer = [*self.tokenizer.encode(text), self.tokenizer.id(END)]
        example = Example([*ids, *answer])
        example.expect(range(len(ids) - 1, len(example.ids) - 1), len(answer) / PER_WORD)
        return example

    def _described(
        self, user: int, items: Sequence[str], rng: np.random.Generator
    ) -> Demonstrated | None:
        """Everything; or its two halves, each in a text."""
        half = len(items) // 2
        if half < LEAST_HISTORY or rng.random() > PAIRED:
            parts = [items]
        else:
            parts = [items[:half], items[half:]] if rng.random() < 0.5 else [items, items[half:]]
        try:
            return Demonstrated(*(self._text(user, part, rng) for part in parts))
        except ValueError:
            return None

    def _text(self, user: int, items: Sequence[str], rng: np.random.Generator) -> str:
        beside = self.shoppers.beside(user, items, NEIGHBORS) if rng.random() < NAMED else []
        return describe(
            _chosen(self.shoppers, items), rng, _chosen(self.shoppers, beside)
        ).as_text()

    def _answer(self, text: str) -> list[int]:
        return [*self.tokenizer.encode(text), self.tokenizer.id(END)]


def _chosen(shoppers: Shoppers, items: Sequence[str]) -> list[Chosen]:
    return [Chosen(shoppers.titles[item], shoppers.terms[item]) for item in items]


def _past(shoppers: Shoppers, items: Sequence[str]) -> tuple[PastItem, ...]:
    return tuple(PastItem(item, shoppers.titles[item]) for item in items)


def _texts(shoppers: Shoppers) -> Iterator[str]:
    """Titles as a prompt goes on with them or begins with them, those of frequent items more often;
    and some of all else."""
    rng = np.random.default_rng(0)
    for item, title in shoppers.titles.items():
        times = round((1 + shoppers.popularity[item]) ** FREQUENT)
        yield from [f" {title}"] * times
        yield from [title] * math.ceil(times / 4)
    for mode in Mode:
        for demonstrated in (None, Demonstrated("Likes: it.", "Likes: that.")):
            prompt = compose(
                PromptFormat(mode=mode), PromptRequest(("one", "two"), ("three",),
                demonstrated=demonstrated), len,
            )  # fmt: skip
            yield from [prompt.chat().messages[0].content, prompt.lead] * AS_OFTEN
    longer = [items for items in shoppers.sequences if len(items) > 2]
    for place in rng.choice(len(longer), min(2_000, len(longer)), replace=False).tolist():
        items = longer[place]
        snapshot = Snapshot(_past(shoppers, items))
        asked = generator_prompt(snapshot, View(), lambda text: len(text) // 8)
        yield asked.chat.messages[0].content
        try:
            described = describe(_chosen(shoppers, items), rng)
        except ValueError:
            continue
        yield described.as_json()
        yield described.as_text()
