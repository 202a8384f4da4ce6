"""Of which demonstrations a user's landscape is made, and on what each of them is judged.

All are true and of one form. Each element names one of a few items of the user's past, older than
what prompts show anyway; elements follow the order of the past. So a space of 5 elements with 3
choices each is made of 15 items, and holds 243 demonstrations with 10 neighbors each.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.lines import keep_line, read_lines
from lab.mini.moments import Moment, candidates_of
from lab.shop.catalog import Item
from lab.shop.events import user_id
from lab.shop.lives import sample_lives
from lab.shop.taste import EVALUATION_USERS, Life, Shop, utilities
from lab.tables.studies.collapse.landscape import Landscape, Place, places
from services.demonstrations.demonstration import Demonstration, Example
from services.llm.port import Priority, Terms
from services.optimizer.material import Question
from services.optimizer.plan import Plan
from services.optimizer.rules import Judged
from services.prompts import Demonstrated
from services.ranking import (
    Candidate,
    EvaluationFingerprint,
    Method,
    Ranked,
    Ranker,
    RankingRequest,
)
from services.ranking.effect import log_score

# Others than any other experiment looks at.
FIRST_USER = 220_000
# Of the candidates that are not the truth, drawn to the user's taste: as retrieval finds them.
HARD = 0.5
SECONDS = 300.0
PROMPTS_AT_ONCE = 48
_LOOKED_AT_ONCE = 100


@dataclass(frozen=True)
class Space:
    """`choices` by element, oldest first; `questions` by held-out event, the newest first."""

    user: str
    choices: tuple[tuple[Item, ...], ...]
    questions: tuple[Question, ...]

    @property
    def places(self) -> list[Place]:
        return places([len(items) for items in self.choices])

    def text(self, place: Place) -> str:
        return demonstration(
            [items[choice] for items, choice in zip(self.choices, place, strict=True)]
        ).as_text()


def demonstration(items: Sequence[Item]) -> Demonstration:
    """What these past items show, oldest first."""
    newest, titles = items[-1].attributes, [item.title for item in items]
    kinds, brands, styles = (
        _listed([item.attributes[axis] for item in items]) for axis in ("kind", "brand", "style")
    )
    return Demonstration(
        preference=f"Likes {kinds}; brands {brands}; {styles} style.",
        evidence=tuple(titles),
        suggestion=f"Look for {newest['kind']} by {newest['brand']} in {newest['style']} style.",
        example=Example(
            after=tuple(titles[:-1]),
            chose=titles[-1],
            because=f"it shows {newest['brand']} and {newest['style']}",
        ),
    )


def spaces(shop: Shop, users: int, elements: int, choices: int, plan: Plan) -> Iterator[Space]:
    """Of the first fresh users whose past is long enough."""
    begin, found = FIRST_USER, 0
    while found < users:
        for life in sample_lives(shop, EVALUATION_USERS[begin : begin + _LOOKED_AT_ONCE]):
            space = _space(shop, life, elements, choices, plan)
            if space is not None and found < users:
                found += 1
                yield space
        begin += _LOOKED_AT_ONCE


def _space(shop: Shop, life: Life, elements: int, choices: int, plan: Plan) -> Space | None:
    past = life.items[: -plan.held_out]
    # What the prompt of the oldest event shows of its history, the others show less of.
    older = past[: max(0, len(past) - plan.method.form.limits.history_items)]
    if len(older) < elements * choices:
        return None
    newest = older[-elements * choices :].reshape(elements, choices)
    return Space(
        user_id(life.number),
        tuple(tuple(shop.catalog.items[int(item)] for item in row) for row in newest),
        tuple(_questions(shop, life, plan)),
    )


def _questions(shop: Shop, life: Life, plan: Plan) -> Iterator[Question]:
    """The newest positives, each as of its moment."""
    items = shop.catalog.items
    for position in range(len(life.items) - 1, len(life.items) - 1 - plan.held_out, -1):
        moment = Moment(life, position, utilities(shop, life, position))
        history = tuple(items[int(item)].title for item in moment.past)
        for draw in range(plan.draws):
            rng = np.random.default_rng(np.random.SeedSequence((life.number, position, draw)))
            shown = candidates_of(moment, plan.candidates, rng, HARD)
            candidates = tuple(
                Candidate(items[int(item)].item_id, items[int(item)].title) for item in shown
            )
            request = RankingRequest(history, candidates)
            yield Question(str(position), draw, items[moment.chosen].item_id, request)


# --- judging --------------------------------------------------------------------------------------


class Judge:
    """Of whole spaces; a file of each user keeps what was found, and nothing is asked twice."""

    def __init__(self, ranker: Ranker, method: Method, fingerprint: EvaluationFingerprint) -> None:
        self._ranker = ranker
        self._method = method
        self._fingerprint = fingerprint.digest

    def left(self, space: Space, file: Path) -> int:
        return len(self._missing(space, file))

    async def cost(self, space: Space) -> tuple[int, float]:
        """Of one demonstration: tokens and seconds. Nothing is kept."""
        await self._rank(space, [None])  # loads the model and finds its labels
        began = time.perf_counter()
        ranked = await self._rank(space, space.places[:1])
        tokens = ranked.usage.prompt + ranked.usage.completion
        return tokens, time.perf_counter() - began

    async def judge(self, space: Space, file: Path) -> None:
        missing = self._missing(space, file)
        at_once = max(1, PROMPTS_AT_ONCE // len(space.questions))
        for begin in range(0, len(missing), at_once):
            await self._judge_some(space, missing[begin : begin + at_once], file)

    async def _judge_some(self, space: Space, some: Sequence[Place | None], file: Path) -> None:
        rankings = iter((await self._rank(space, some)).rankings)
        for place in some:
            found = []
            for question in space.questions:
                ranking = next(rankings)
                truth = ranking.item_ids.index(question.truth)
                found.append(
                    [
                        question.event_id, question.draw, ranking.rank_of(question.truth),
                        round(log_score(ranking.scores, truth), 6),
                    ]
                )  # fmt: skip
            key = _key(space, place, self._fingerprint)
            keep_line(file, {"place": place, "key": key, "judged": found})

    def _missing(self, space: Space, file: Path) -> list[Place | None]:
        wanted: list[Place | None] = [None, *space.places]
        known = read_judged(space, file, self._fingerprint)
        return [place for place in wanted if place not in known]

    async def _rank(self, space: Space, some: Sequence[Place | None]) -> Ranked:
        shown = [None if place is None else Demonstrated(space.text(place)) for place in some]
        return await self._ranker.rank_all(
            [question.under(one) for one in shown for question in space.questions],
            self._method,
            Terms.within(SECONDS, Priority.ROUND),
        )

    def landscape(self, space: Space, file: Path, z: float) -> Landscape:
        return landscape_of(space, read_judged(space, file, self._fingerprint), z)


def read_judged(space: Space, file: Path, fingerprint: str) -> dict[Place | None, list[Judged]]:
    """By place; None is zero-shot. What was asked otherwise, or by another model, is left out."""
    found: dict[Place | None, list[Judged]] = {}
    wanted = {_key(space, place, fingerprint): place for place in (None, *space.places)}
    for line in read_lines(file):
        if line.get("key") in wanted:
            found[wanted[line["key"]]] = [Judged(*one) for one in line["judged"]]
    return found


def landscape_of(space: Space, judged: dict[Place | None, list[Judged]], z: float) -> Landscape:
    return Landscape(
        user=space.user,
        texts={place: space.text(place) for place in space.places},
        judged={place: judged[place] for place in space.places},
        zero_shot=judged[None],
        newest_event=space.questions[0].event_id,
        z=z,
    )


def _key(space: Space, place: Place | None, fingerprint: str) -> str:
    """Of all that the answers depend on."""
    asked = [question.digest + question.truth for question in space.questions]
    text = None if place is None else space.text(place)
    return hashlib.sha256(json.dumps([asked, text, fingerprint]).encode()).hexdigest()[:16]


def _listed(words: Sequence[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
