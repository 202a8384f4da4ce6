"""Training examples: the system's own prompts, composed by the system itself, with what is known.

Each is the token ids of a prompt and its answer, and for some places in them what the model
should say there: a next token; the relevance grade of a candidate, wherever its line mentions it;
the odds of the labels at the cue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lab.mini.describing import describe
from lab.mini.moments import Moment, candidates_of
from lab.mini.tokenizer import END, MiniTokenizer
from lab.shop.catalog import Catalog
from lab.shop.taste import Shop
from services.demonstrations.demonstration import Demonstration
from services.demonstrations.generation import Remembered, View, ViewKind, generator_prompt
from services.demonstrations.snapshot import PastItem, Snapshot
from services.llm.chat import Chat
from services.prompts import (
    DEFAULT_REGULARIZATION,
    LABELS,
    Demonstrated,
    Lead,
    Limits,
    Mode,
    Prompt,
    PromptFormat,
    PromptRequest,
    SegmentName,
    TemplateName,
    compose,
    content_free,
)

# Where one grade of relevance ends and the next begins, in log-odds. Each liked value of an item
# is worth five and more, its popularity up to five: so these tell how many values are liked, and
# among items with two or three of them how popular they are.
GRADE_BOUNDS = (0.3, 5.3, 6.5, 8.5)

# In a training step, what each kind of answer weighs beside the odds of the labels.
LINE_WEIGHT, LABEL_GRADE_WEIGHT, HISTORY_WEIGHT, LIST_WEIGHT = 1.0, 1.0, 0.5, 1.0


_HEADLESS = (SegmentName.INSTRUCTION, SegmentName.REGULARIZATION)


@dataclass(frozen=True)
class Odds:
    """At `place` the next token is one of `tokens`, with these probabilities.

    `among_labels`: only labels compete for it, else the whole vocabulary does.
    """

    place: int
    tokens: NDArray[np.int64]
    shares: NDArray[np.float64]
    weight: float
    among_labels: bool


@dataclass
class Example:
    """Places are those of the token before: what is known at a place is about what follows it."""

    ids: list[int]
    next_places: list[int] = field(default_factory=list)
    next_weights: list[float] = field(default_factory=list)
    grade_places: list[int] = field(default_factory=list)
    grades: list[int] = field(default_factory=list)
    grade_weights: list[float] = field(default_factory=list)
    odds: list[Odds] = field(default_factory=list)
    answer: int | None = None  # the label token of the item that was chosen

    def expect(self, places: Sequence[int], weight: float) -> None:
        """The tokens behind these places are to be predicted; together they have this weight."""
        self.next_places.extend(places)
        self.next_weights.extend([weight / max(1, len(places))] * len(places))


@dataclass(frozen=True)
class Mix:
    """What training shows, and how often. The rest of the shares is ranking by label."""

    likelihood: float = 0.0
    demonstration: float = 0.0
    written_list: float = 0.0  # of the rankings: the whole list is the answer
    other_templates: float = 0.0
    described: float = 0.8  # rankings with a demonstration, where the past is long enough
    perturbed: float = 0.0
    plain: float = 0.0  # no regularization, another lead, no history, no content
    fewest: int = 4
    most: int = 10
    hard: float = 0.5
    shuffled_labels: float = 1.0
    line_grades: float = 1.0
    brief: float = 0.0  # see `laid_out`


@dataclass(frozen=True)
class Corpus:
    shop: Shop
    tokenizer: MiniTokenizer

    def examples(
        self, moments: Iterator[Moment], mix: Mix, rng: np.random.Generator
    ) -> Iterator[Example]:
        for moment in moments:
            task = rng.random()
            if task < mix.likelihood:
                yield self.by_title(moment, mix, rng)
            elif task < mix.likelihood + mix.demonstration:
                yield self.written(moment, rng)
            else:
                yield self.ranking(moment, mix, rng)

    # Ranking by label

    def ranking(self, moment: Moment, mix: Mix, rng: np.random.Generator) -> Example:
        form, request = self._asked(moment, mix, rng, Mode.FIRST_TOKEN)
        size = int(rng.integers(mix.fewest, mix.most + 1))
        shown = candidates_of(moment, size, rng, mix.hard)
        if rng.random() < mix.shuffled_labels:
            form = replace(form, labels=tuple(rng.permutation(LABELS).tolist()))
        request = replace(request, candidates=titles_of(self.shop.catalog, shown))
        empty = rng.random() < mix.plain / 4
        if empty:
            request = content_free(request)
        prompt = compose(form, request, self.tokenizer.count)
        utilities = np.zeros(size) if empty else moment.utilities[shown]
        example, at = self._laid_out(prompt, brief=rng.random() < mix.brief)
        if SegmentName.CANDIDATES in at and not empty:
            self._grade(example, at[SegmentName.CANDIDATES], utilities, mix)
        labels = self._answer_labels(prompt)
        example.answer = int(labels[int(np.flatnonzero(shown == moment.chosen)[0])])
        example.odds.append(
            Odds(len(example.ids) - 1, labels, _shares(utilities), 1.0, among_labels=True)
        )
        if rng.random() < mix.written_list:
            self._write_list(example, prompt, labels, utilities, rng)
        return example

    def _grade(
        self,
        example: Example,
        lines: list[range],
        utilities: NDArray[np.float64],
        mix: Mix,
    ) -> None:
        """At the label of each candidate, and at every token of its line before it."""
        grades = np.searchsorted(GRADE_BOUNDS, utilities, side="right").tolist()
        for grade, line in zip(grades, lines, strict=True):
            before = list(line[1:-1])
            weights = [LINE_WEIGHT * mix.line_grades / len(before)] * len(before)
            example.grade_places += (*before, line[-1])
            example.grades += [grade] * (len(before) + 1)
            example.grade_weights += [w / len(grades) for w in (*weights, LABEL_GRADE_WEIGHT)]

    def _answer_labels(self, prompt: Prompt) -> NDArray[np.int64]:
        known = self.tokenizer.labels if prompt.lead else self.tokenizer.leading_labels
        return np.array([known[label] for label in prompt.labels], dtype=np.int64)

    def _write_list(
        self,
        example: Example,
        prompt: Prompt,
        labels: NDArray[np.int64],
        utilities: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        """Label after label: each drawn by the odds of those that are left, mostly the best."""
        spaced = np.array([self.tokenizer.labels[label] for label in prompt.labels])
        order = np.argsort(-(utilities + 0.3 * rng.gumbel(size=len(utilities))))
        weight = LIST_WEIGHT / (len(order) + 1)
        for number, place in enumerate(order):
            left = order[number:]
            tokens = spaced if number else labels
            example.odds.append(
                Odds(
                    len(example.ids) - 1, tokens[left], _shares(utilities[left]), weight,
                    among_labels=False,
                )
            )  # fmt: skip
            example.ids.append(int(tokens[place]))
        end = np.array([self.tokenizer.id(END)])
        example.odds.append(Odds(len(example.ids) - 1, end, np.ones(1), weight, among_labels=False))
        example.ids.append(int(end[0]))

    # Ranking by title, and the language of histories

    def by_title(self, moment: Moment, mix: Mix, rng: np.random.Generator) -> Example:
        form, request = self._asked(moment, mix, rng, Mode.LIKELIHOOD)
        title = self.shop.catalog.items[moment.chosen].title
        request = replace(request, candidates=(title,))
        prompt = compose(form, request, self.tokenizer.count)
        example, _ = self._laid_out(prompt, brief=rng.random() < mix.brief)
        begin = len(example.ids)
        example.ids.extend(self.tokenizer.encode(prompt.continued(title)))
        example.ids.append(self.tokenizer.id(END))
        example.expect(range(begin - 1, len(example.ids) - 1), 0.5)
        return example

    # Writing demonstrations

    def written(self, moment: Moment, rng: np.random.Generator) -> Example:
        chat, demonstration = self.generator_task(moment, rng)
        ids = self.tokenizer.chat(chat)
        answer = [*self.tokenizer.encode(demonstration.as_json()), self.tokenizer.id(END)]
        example = Example([*ids, *answer])
        example.expect(range(len(ids) - 1, len(example.ids) - 1), 1.5)
        return example

    def generator_task(
        self, moment: Moment, rng: np.random.Generator
    ) -> tuple[Chat, Demonstration]:
        """A snapshot's prompt, and a truthful answer to it."""
        catalog = self.shop.catalog
        history = tuple(past_item(catalog, int(item)) for item in moment.past)
        neighbors: tuple[PastItem, ...] = ()
        view = View(
            kind=tuple(ViewKind)[int(rng.choice(3, p=(0.6, 0.25, 0.15)))],
            window=int(rng.choice((20, 20, 20, 12, 8))),
        )
        if view.kind is ViewKind.NEIGHBORS:
            likely = np.argsort(-(moment.utilities + 2.0 * rng.gumbel(size=len(catalog.items))))
            free = likely[~np.isin(likely, moment.life.items)]
            neighbors = tuple(past_item(catalog, int(item)) for item in free[:8])
        listed = moment.past[-view.window :]
        prompt = generator_prompt(
            Snapshot(history, neighbors, {"country": "US"} if rng.random() < 0.3 else {}),
            view,
            self.tokenizer.count,
            memory=[
                Remembered(describe(catalog, self._part(moment.past, rng), rng), rng.random())
                for _ in range(int(rng.choice((0, 0, 0, 1, 2))))
            ],
            perturbation=(
                describe(catalog, self._part(moment.past, rng), rng) if rng.random() < 0.1 else None
            ),
        )
        return prompt.chat, describe(catalog, listed[-len(prompt.listed_titles) :], rng)

    # What all prompts share

    def _asked(
        self, moment: Moment, mix: Mix, rng: np.random.Generator, mode: Mode
    ) -> tuple[PromptFormat, PromptRequest]:
        form = PromptFormat(mode=mode, limits=Limits(history_items=int(rng.integers(5, 11))))
        if rng.random() < mix.other_templates:
            other = (TemplateName.PAPER, TemplateName.INV)[int(rng.integers(2))]
            form = replace(form, template=other)
        history = titles_of(self.shop.catalog, moment.past)
        if rng.random() < mix.plain:
            match int(rng.integers(4)):
                case 0:
                    form = replace(form, regularization=None)
                case 1:
                    form = replace(form, lead=Lead.NONE)
                case 2:
                    longer = replace(form.limits, extra_history_tokens=160)
                    form = replace(form, limits=longer)
                case _:
                    history = ()
        demonstrated = None
        if rng.random() < mix.described:
            window = 0 if rng.random() < 0.15 else form.limits.history_items
            demonstrated = self.demonstrated(moment, window, rng, mix.perturbed)
        assert form.regularization in (DEFAULT_REGULARIZATION, None)
        return form, PromptRequest(history=history, demonstrated=demonstrated)

    def demonstrated(
        self, moment: Moment, window: int, rng: np.random.Generator, perturbed: float = 0.0
    ) -> Demonstrated | None:
        """Of what lies before the window: often all of it, sometimes a part."""
        older = moment.past[: len(moment.past) - window]
        if len(older) < 2:
            return None
        catalog = self.shop.catalog
        text = describe(catalog, self._part(older, rng), rng).as_text()
        other = None
        if rng.random() < perturbed:
            other = describe(catalog, self._part(older, rng), rng).as_text()
        return Demonstrated(text, other)

    def _part(self, items: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        if rng.random() < 0.6 or len(items) <= 3:
            return items
        size = int(rng.integers(max(2, len(items) // 3), len(items) + 1))
        return items[np.sort(rng.permutation(len(items))[:size])]

    def _laid_out(
        self, prompt: Prompt, *, brief: bool
    ) -> tuple[Example, dict[SegmentName, list[range]]]:
        """The prompt's tokens, and where the lines of each segment are in them."""
        ids, at = laid_out(self.tokenizer, prompt, brief=brief)
        example = Example(ids)
        lines = at.get(SegmentName.HISTORY, [])
        # The break and dash of a line say nothing of the item that follows.
        titles = [place for line in lines for place in range(line.start, line.stop - 1)]
        if titles:
            example.expect(titles, HISTORY_WEIGHT)
        return example, at


def laid_out(
    tokenizer: MiniTokenizer, prompt: Prompt, *, brief: bool = False
) -> tuple[list[int], dict[SegmentName, list[range]]]:
    """The tokens of the prompt's chat, and where in them each segment's lines are, headings apart.

    `brief` leaves out what is the same in all prompts, and all but the preference of what is said
    about a user: no prompt of the system's, only what those are learned on first.
    """
    ids = [tokenizer.id("<|user|>")]
    at: dict[SegmentName, list[range]] = {}
    for number, segment in enumerate(prompt.segments[:-1]):
        headed = segment.name not in _HEADLESS
        # Each line begins with the break before it; only the turn's first line has none.
        text = segment.text.removesuffix("\n")
        lines = tokenizer.lines(text if number == 0 else f"\n{text}")[min(number, 1) :]
        if brief:
            whole = segment.name in (SegmentName.HISTORY, SegmentName.CANDIDATES)
            lines = lines[headed : None if whole else headed + 1] if headed else []
        for place, line in enumerate(lines):
            if brief or not headed or place:
                at.setdefault(segment.name, []).append(range(len(ids), len(ids) + len(line)))
            ids.extend(line)
    ids += (tokenizer.id(END), tokenizer.id("<|assistant|>"))
    for line in tokenizer.lines(prompt.lead):
        ids.extend(line)
    return ids, at


def titles_of(catalog: Catalog, items: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(catalog.items[int(item)].title for item in items)


def past_item(catalog: Catalog, item: int) -> PastItem:
    it = catalog.items[item]
    return PastItem(it.item_id, it.title, it.attributes)


def _shares(utilities: NDArray[np.float64]) -> NDArray[np.float64]:
    odds = np.exp(utilities - utilities.max())
    shares: NDArray[np.float64] = odds / odds.sum()
    return shares
