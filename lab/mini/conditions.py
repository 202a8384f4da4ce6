"""What a fresh user's next choice is ranked from: with nothing, with a window, with a summary …

A question holds no more than a service would know at that moment. The truth stays apart from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from lab.mini.corpus import past_item
from lab.mini.describing import describe
from lab.mini.moments import Moment, candidates_of
from lab.shop.lives import sample_lives
from lab.shop.taste import EVALUATION_USERS, Shop, utilities
from services.demonstrations.generation import GeneratorPrompt, View, generator_prompt
from services.demonstrations.snapshot import Snapshot
from services.llm.port import Count
from services.prompts import Demonstrated
from services.ranking import Candidate, Method, RankingRequest

CANDIDATES = 50

# Whose summaries are shown to others; nobody is ranked for among them.
_STRANGERS = EVALUATION_USERS[500_000:]


class Condition(StrEnum):
    NOTHING = "nothing"
    ZERO_SHOT = "zero_shot"
    ZERO_SHOT_LONG = "zero_shot_long"
    ORACLE_DEMO = "oracle_demo"
    OTHER_USERS_DEMO = "other_users_demo"
    GENERATED = "generated"


@dataclass(frozen=True)
class Question:
    """A user's newest positive among negatives that the user never took."""

    user: int
    truth: str
    moment: Moment
    request: RankingRequest
    popularity: tuple[float, ...]  # of the candidates, as the shop has it
    truthful: Demonstrated | None
    strangers: Demonstrated | None

    def under(
        self, condition: Condition, method: Method, generated: Demonstrated | None = None
    ) -> tuple[RankingRequest, Method]:
        bare = self.request
        match condition:
            case Condition.NOTHING:
                return replace(bare, history=()), method
            case Condition.ZERO_SHOT:
                return bare, method
            case Condition.ZERO_SHOT_LONG:
                # The tokens that a demonstration might take, spent on older history instead.
                limits = method.form.limits
                longer = replace(limits, extra_history_tokens=limits.demonstration_tokens)
                return bare, replace(method, form=replace(method.form, limits=longer))
            case Condition.ORACLE_DEMO:
                return replace(bare, demonstrated=self.truthful), method
            case Condition.OTHER_USERS_DEMO:
                return replace(bare, demonstrated=self.strangers), method
            case Condition.GENERATED:
                return replace(bare, demonstrated=generated), method

    def generator_prompt(self, shop: Shop, count: Count, window: int = 20) -> GeneratorPrompt:
        snapshot = Snapshot(tuple(past_item(shop.catalog, int(item)) for item in self.moment.past))
        snapshot.require_free_of((self.truth,))
        return generator_prompt(snapshot, View(window=window), count)


def questions(shop: Shop, numbers: Sequence[int], window: int) -> list[Question]:
    """`window` is how many recent items a prompt shows: summaries are of what lies before."""
    lives = sample_lives(shop, numbers)
    strangers = sample_lives(shop, [_STRANGERS[number] for number in numbers])
    asked = []
    for number, life, stranger in zip(numbers, lives, strangers, strict=True):
        moment, other = (
            Moment(one, len(one.items) - 1, utilities(shop, one, len(one.items) - 1))
            for one in (life, stranger)
        )
        rng = np.random.default_rng(np.random.SeedSequence((number, 50)))
        shown = candidates_of(moment, CANDIDATES, rng)
        catalog = shop.catalog
        asked.append(
            Question(
                user=number,
                truth=catalog.items[moment.chosen].item_id,
                moment=moment,
                request=RankingRequest(
                    history=tuple(catalog.items[int(item)].title for item in moment.past),
                    candidates=tuple(
                        Candidate(catalog.items[int(item)].item_id, catalog.items[int(item)].title)
                        for item in shown
                    ),
                ),
                popularity=tuple(catalog.popularity[shown].tolist()),
                truthful=_summary(shop, moment, window, rng),
                strangers=_summary(shop, other, window, rng),
            )
        )
    return asked


def _summary(
    shop: Shop, moment: Moment, window: int, rng: np.random.Generator
) -> Demonstrated | None:
    """Truthful, of all that lies before the window; None where hardly anything does."""
    older = moment.past[: max(0, len(moment.past) - window)]
    if len(older) < 2:
        return None
    return Demonstrated(describe(shop.catalog, older, rng).as_text())
