"""Methods that have several texts for a user, and a contextual bandit that picks one.

`re2llm` (arXiv 2403.16427): hints, the same for everybody. Its hints are reflections of a large
model on its errors; here they are a fixed list of what such reflections say, so that any engine has
the same ones, and one arm is to say nothing.

`more` (arXiv 2409.06377): three perspectives on the user (what was chosen; its attributes; what
others chose beside it), each reflected upon twice by the model; of a perspective's texts the memory
keeps the one that serves the validation target best.

The bandit's rewards are Effect_D on validation targets, over saying nothing. It knows of a user
only what the context says, and it is learned over all users who are asked about: a user's own
reward does not pick their text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from lab.evaluation.answers import ask_all
from lab.evaluation.bandit import Context, LinUcb
from lab.evaluation.judging import judged
from lab.evaluation.methods import Pool
from lab.evaluation.questions import Question, Split
from lab.evaluation.scorers import ByModel, Means
from lab.lines import keep_line, read_lines
from services.demonstrations.generation import View, ViewKind, generator_prompt
from services.demonstrations.generator import Generator, Task
from services.demonstrations.snapshot import LEAST_HISTORY, PastItem, Snapshot
from services.llm.errors import ModelError
from services.llm.port import Priority, Terms
from services.prompts import Demonstrated, PromptTooLong
from services.prompts.titles import fold
from services.ranking.effect import effect_d

HINTS = (
    "Hint: the newest items say most about what comes next.",
    "Hint: what comes next often belongs to the same series as an earlier item.",
    "Hint: users stay with the brand, maker or system of what they have.",
    "Hint: after a main product often comes something that is used with it.",
    "Hint: long-standing interests return, even after other items.",
    "Hint: what many others take is likely, unless the history says otherwise.",
)
TRIES, NEIGHBORS = 2, 8


Arms = Mapping[str, Sequence[Demonstrated | None]]  # by user; as many for everybody
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Picked:
    texts: Mapping[str, Demonstrated | None]
    digest: str

    def of(self, user_id: str) -> Demonstrated | None:
        return self.texts.get(user_id)


@dataclass(frozen=True)
class Picking:
    """`questions` are those of the test, without targets. `folder` keeps texts and scores; `name`
    tells them from those of other models, `seed` from those that it had written otherwise."""

    means: Means
    questions: Sequence[Question]
    valid: Split
    folder: Path
    name: str
    at_once: int = 1
    seed: int = 0

    async def picked(self, pool: Pool, tell: Tell) -> Picked:
        arms = self._hints() if pool is Pool.HINTS else await self._perspectives(tell)
        rewards = await self._rewards(pool, arms, tell)
        if pool is Pool.PERSPECTIVES:
            arms, rewards = _remembered(arms, rewards)
        bandit = LinUcb(len(next(iter(arms.values()))), _WIDTH)
        contexts = {one.user_id: self._context(one) for one in self.valid.questions}
        bandit.learn(contexts, rewards, self.seed)
        texts = {
            question.user_id: arms[question.user_id][bandit.best(self._context(question))]
            for question in self.questions
            if question.user_id in arms
        }
        said = {user: None if text is None else text.current for user, text in texts.items()}
        content = json.dumps([pool.value, said], sort_keys=True)
        return Picked(texts, hashlib.sha256(content.encode()).hexdigest()[:16])

    def _hints(self) -> Arms:
        arms = (None, *map(Demonstrated, HINTS))
        return {question.user_id: arms for question in self.valid.questions}

    async def _perspectives(self, tell: Tell) -> Arms:
        """Of the history before the validation target, which is not in any input."""
        known = {row["user"]: row["texts"] for row in read_lines(self._texts)}
        found: dict[str, list[Demonstrated | None]] = {}
        for done, question in enumerate(self.valid.questions, start=1):
            texts = known.get(question.user_id)
            if texts is None:
                texts = await self._written(question)
                keep_line(self._texts, {"user": question.user_id, "texts": texts})
            found[question.user_id] = [
                None, *(None if text is None else Demonstrated(text) for text in texts)
            ]  # fmt: skip
            tell("perspectives", done, len(self.valid.questions))
        return found

    @property
    def _texts(self) -> Path:
        return self.folder / f"perspectives-{self._written_by}.jsonl"

    @property
    def _written_by(self) -> str:
        return f"{self.name}-{self.seed}" if self.seed else self.name

    async def _written(self, question: Question) -> list[str | None]:
        """By perspective, then by try."""
        snapshot = self._snapshot(question)
        if len(snapshot.history) < LEAST_HISTORY:
            return [None] * (TRIES * len(ViewKind))
        model = self.means.asked_model
        terms = Terms.within(self.means.seconds, Priority.ROUND)
        count = await model.counter(terms)
        try:
            prompts = [generator_prompt(snapshot, View(kind), count) for kind in ViewKind]
            outcomes = await Generator(model, is_item=self._titles.__contains__).write(
                [
                    Task(prompt, TRIES * self.seed + try_)
                    for prompt in prompts
                    for try_ in range(TRIES)
                ],
                terms,
            )
        except (ModelError, PromptTooLong):
            return [None] * (TRIES * len(ViewKind))
        return [
            None if one.demonstration is None else one.demonstration.as_text() for one in outcomes
        ]

    def _snapshot(self, question: Question) -> Snapshot:
        target = self.valid.targets[question.user_id]
        near = [
            item
            for item in self.means.prior.near(question.history, NEIGHBORS + 1)
            if item != target
        ]
        snapshot = Snapshot(
            tuple(map(self._past, question.history)), tuple(map(self._past, near[:NEIGHBORS]))
        )
        snapshot.require_free_of((target,))
        return snapshot

    def _past(self, item: str) -> PastItem:
        return PastItem(item, self.means.training.titles[item] or None)

    @cached_property
    def _titles(self) -> frozenset[str]:
        return frozenset(fold(title) for title in self.means.training.titles.values() if title)

    async def _rewards(self, pool: Pool, arms: Arms, tell: Tell) -> dict[str, list[float]]:
        """By user and arm; 0 where the model gave no answer."""
        effects: list[dict[str, float]] = []
        name = self._written_by if pool is Pool.PERSPECTIVES else self.name  # hints are the same
        for arm in range(len(next(iter(arms.values())))):
            kept = self.folder / f"{pool}-{arm}-{name}.jsonl"
            shown = ByModel(self.means, partial(_shown, arms, arm))
            told = partial(_told, tell, f"{pool.value} {arm}", len(self.valid.questions))
            answers = await ask_all(self.valid, shown, kept, self.at_once, told)
            effects.append(
                {
                    question.user_id: effect_d(
                        judged(question, scored.scores, self.valid.targets[question.user_id]).rank
                    )
                    for question in self.valid.questions
                    if (scored := answers[question.user_id].scored) is not None
                }
            )
        bare = effects[0]
        return {
            user: [one[user] - bare[user] if user in one else 0.0 for one in effects]
            for user in bare
        }

    def _context(self, question: Question) -> Context:
        """How long, how popular, how recent things are, and how often words return."""
        counted, history = self.means.counted, question.history
        popular = [math.log1p(users) for users in counted.users_of(history)] or [0.0]
        words = [set(fold(self.means.training.titles[item] or "").split()) for item in history]
        again = [
            len(one & other) / max(1, len(one))
            for one, other in zip(words[1:], words, strict=False)
        ] or [0.0]
        return np.array(
            [1.0, math.log1p(len(history)) / 3, float(np.mean(popular)) / 5, popular[-1] / 5,
             float(np.mean(again)), again[-1]]
        )  # fmt: skip


_WIDTH = 6


def _remembered(
    arms: Arms, rewards: Mapping[str, Sequence[float]]
) -> tuple[Arms, dict[str, list[float]]]:
    """Of each perspective's tries the one with the better reward; saying nothing stays."""
    kept: dict[str, list[Demonstrated | None]] = {}
    worth: dict[str, list[float]] = {}
    for user, mine in rewards.items():
        best = [0]
        for perspective in range(len(ViewKind)):
            tries = range(1 + perspective * TRIES, 1 + (perspective + 1) * TRIES)
            best.append(max(tries, key=mine.__getitem__))
        kept[user] = [arms[user][arm] for arm in best]
        worth[user] = [mine[arm] for arm in best]
    return kept, worth


def _shown(arms: Arms, arm: int, question: Question) -> Demonstrated | None:
    return arms[question.user_id][arm]


def _told(tell: Tell, what: str, of: int, done: int) -> None:
    tell(what, done, of)
