"""Does Effect_D of a demonstration on validation foretell its Effect_D on the test?

Every text of a user is shown for each held-out event and for the test. Nothing here selects: the
test is asked about all texts alike, and no text was written with it at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import Watch
from lab.tables.studies.forecast import of_rounds, pace, terms
from lab.tables.studies.people import (
    TEST_DRAWS,
    People,
    Person,
    digest_of,
    people_of_files,
    people_of_shop,
)
from lab.tables.studies.rows import Rows
from lab.tables.studies.texts import OTHERS, SetName, Sets, sets_by_user
from services.llm.port import LanguageModel
from services.optimizer.material import Question
from services.optimizer.plan import Plan
from services.prompts import Demonstrated, Mode
from services.ranking import Ranker
from services.ranking.effect import effect_d, log_score

PROMPTS_AT_ONCE = 64
SHOP = "shop"


@dataclass(frozen=True)
class EffectCorrelation:
    """`data` None: users of the generated shop, `first` of whom are passed over."""

    work: Path
    users: int = 12
    texts: int = 6
    rounds: int = 3
    first: int = 0
    data: Path | None = None
    engine: EngineChoice = field(default=EngineChoice())
    mode: Mode = Mode.FIRST_TOKEN

    @property
    def plan(self) -> Plan:
        return Plan(mode=self.mode)

    @property
    def source(self) -> str:
        return SHOP if self.data is None else self.data.name

    def people(self, model: LanguageModel) -> AbstractAsyncContextManager[People]:
        plan, at_once = self.plan, self.engine.calls_at_once
        if self.data is None:
            return people_of_shop(
                self.work, model, plan, users=self.users, first=self.first, at_once=at_once
            )
        return people_of_files(
            self.work, model, plan, data=self.data, users=self.users, at_once=at_once
        )


async def collect(study: EffectCorrelation, watch: Watch) -> list[dict[str, Any]]:
    """A row for each user: what every text was worth on each held-out event, and on the test."""
    async with aclosing(make_model(study.engine)) as model, study.people(model) as people:
        size = f"{study.source}-{study.users}-from-{study.first}"
        name = f"{size}-{await digest_of(model, people.plan, study.rounds, study.texts)}"
        kept = Rows(study.work / f"effect-correlation-{name}.jsonl")
        known = {row["user"] for row in kept.known}
        if known >= people.tests.keys():
            return kept.known
        await _forecast(study, people, watch)
        written = Rows(study.work / f"texts-{name}.jsonl")
        sets = await sets_by_user(people, written, study.texts, study.rounds, watch.tell)
        ranker = Ranker(model)
        for done, user in enumerate(people.tests, start=1):
            if user not in known:
                person = await people.person(user)
                kept.add(await _row(ranker, people.plan, person, sets[user]))
            watch.tell("judged", done, len(people.tests))
        return kept.known


async def _forecast(study: EffectCorrelation, people: People, watch: Watch) -> None:
    user, questions = next(iter(people.tests.items()))
    person = await people.person(user)
    known = await pace(people.model, people.plan, questions[0], person.snapshot)
    rankings, texts = of_rounds(people.plan, study.rounds)
    shown = 1 + study.texts + texts + OTHERS
    asked = people.plan.held_out * people.plan.draws + (TEST_DRAWS if study.data is None else 1)
    users = len(people.tests)
    watch.say(known.told(users * (rankings + shown * asked), users * (texts + study.texts)))


async def _row(ranker: Ranker, plan: Plan, person: Person, sets: Sets) -> dict[str, Any]:
    shown: list[tuple[SetName | None, Demonstrated | None]] = [(None, None)]
    shown += [(name, text) for name, texts in sets.items() for text in texts]
    questions = [*(one for event in person.held_out for one in event), *person.test]
    requests = [(question, text) for _, text in shown for question in questions]
    worth = iter([one async for one in _worth(ranker, plan, requests)])
    rows = []
    for name, _ in shown:
        held_out = [_mean([next(worth) for _ in event]) for event in person.held_out]
        test = _mean([next(worth) for _ in person.test])
        rows.append({"set": name, "held_out": held_out, "test": test})
    zero_shot, *texts = rows
    return {"user": person.user_id, "zero_shot": zero_shot, "texts": texts}


async def _worth(
    ranker: Ranker, plan: Plan, requests: Sequence[tuple[Question, Demonstrated | None]]
) -> Any:
    """Effect_D and log-score, in their order."""
    for begin in range(0, len(requests), PROMPTS_AT_ONCE):
        some = requests[begin : begin + PROMPTS_AT_ONCE]
        ranked = await ranker.rank_all(
            [question.under(text) for question, text in some], plan.method, terms()
        )
        for (question, _), ranking in zip(some, ranked.rankings, strict=True):
            truth = ranking.item_ids.index(question.truth)
            yield effect_d(ranking.rank_of(question.truth)), log_score(ranking.scores, truth)


def _mean(found: Sequence[tuple[float, float]]) -> list[float]:
    return [round(math.fsum(column) / len(found), 6) for column in zip(*found, strict=True)]


def texts_of(row: Mapping[str, Any], *names: SetName) -> Iterator[Mapping[str, Any]]:
    return (one for one in row["texts"] if one["set"] in names)
