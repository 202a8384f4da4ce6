"""A stream of events in which the taste changes: lists for the next event, again and again.

An event is recorded after everybody was asked about it: whatever is asked or learned knows only
what came before. Rounds are the product's: with new events the held-out ones are others, incumbents
are judged on them anew, and what has fallen behind zero-shot is served no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import Watch
from lab.learning.filling import Contents, copy_whole, fill
from lab.learning.learning import Learning
from lab.learning.world import World, Writer, opened_world
from lab.loop.population import POSITIVES, Test, titles_of_shop
from lab.loop.testing import Tester, questions_about
from lab.shop.taste import Shop
from lab.tables.studies.drift.changing import Condition, Twins, events_of, twins, write_people
from lab.tables.studies.forecast import of_rounds, pace
from lab.tables.studies.people import digest_of
from lab.tables.studies.rows import Rows
from services.llm.port import LanguageModel
from services.optimizer.material import Materials, RetrievedCandidates
from services.optimizer.plan import Plan
from services.prompts import Demonstrated

BOTH = "both"  # before the change there is one stream
ARMS = ("zero_shot", "static", "lrgd")


@dataclass(frozen=True)
class Drift:
    """The taste changes at event `at` of a life; asked from `before` events earlier to `after`
    events later. `first_rounds` of learning come before, then a round every `every` events."""

    work: Path
    users: int = 8
    first: int = 0
    at: int = 24
    before: int = 6
    after: int = 12
    every: int = 3
    first_rounds: int = 2
    draws: int = 2
    engine: EngineChoice = field(default=EngineChoice())

    @property
    def plan(self) -> Plan:
        return Plan()

    @property
    def folder(self) -> Path:
        return self.work / f"drift-{self.users}-from-{self.first}-{self.at}-{self.before}"


async def collect(study: Drift, watch: Watch) -> list[dict[str, Any]]:
    """A row for each user and event: the ranks of it that the arms gave."""
    shop = Shop()
    asked = await asyncio.to_thread(
        twins, shop, study.users, study.first, study.at, study.after + 1
    )
    async with aclosing(make_model(study.engine)) as model:
        content = (study.after, study.every, study.first_rounds, study.draws)
        name = await digest_of(model, study.plan, *content)
        kept = Rows(study.folder / f"drift-{name}.jsonl")
        stream = _Stream(study, model, asked, kept, watch)
        if not stream.over:
            await stream.run(name)
        return kept.known


class _Stream:
    def __init__(
        self,
        study: Drift,
        model: LanguageModel,
        asked: Sequence[Twins],
        kept: Rows,
        watch: Watch,
    ) -> None:
        self._study = study
        self._model = model
        self._asked = asked
        self._kept = kept
        self._watch = watch
        self._tester = Tester(model, study.plan)
        self._known = {(row["condition"], row["step"], row["user"]) for row in kept.known}

    @property
    def over(self) -> bool:
        return len(self._known) == self._of

    @property
    def _of(self) -> int:
        study = self._study
        return len(self._asked) * (study.before + len(Condition) * (study.after + 1))

    async def run(self, name: str) -> None:
        study = self._study
        study.folder.mkdir(parents=True, exist_ok=True)
        people = study.folder / "people.sqlite3"
        shared = study.at - study.before
        await asyncio.to_thread(write_people, people, Shop(), self._asked, shared)
        before = study.folder / f"{BOTH}-{name}.sqlite3"
        await asyncio.to_thread(copy_whole, people, before)
        await self._forecast(before)
        # Learned before the change, and then left as it is.
        static = Rows(study.folder / f"static-{name}.jsonl")
        for step in range(-study.before, 0):
            await self._step(before, BOTH, Condition.UNCHANGED, step, static)
        await fill(before, Contents([], []), POSITIVES)  # one file, without a journal
        for condition in Condition:
            file = study.folder / f"{condition}-{name}.sqlite3"
            await asyncio.to_thread(copy_whole, before, file)
            for step in range(study.after + 1):
                await self._step(file, condition.value, condition, step, static)

    async def _step(
        self, file: Path, told_as: str, condition: Condition, step: int, static: Rows
    ) -> None:
        """Everything before the event is recorded, perhaps learned from, and the event asked
        about."""
        study, shop = self._study, Shop()
        users = [one for one in self._asked if (told_as, step, one.user_id) not in self._known]
        if not users:
            return
        place = study.at + step
        past = [
            event
            for one in self._asked
            for event in events_of(shop, one.life(condition), study.at - study.before, place)
        ]
        await fill(file, Contents([], past), POSITIVES)
        async with opened_world(file, POSITIVES) as world:
            await self._learn(world, step, static)
            fixed = {row["user"]: _shown(row) for row in static.known}
            candidates = RetrievedCandidates(world.retrieval)
            plan = study.plan.model_copy(update={"draws": study.draws})
            for one in users:
                (event,) = events_of(shop, one.life(condition), place, place + 1)
                assert event.occurred_at is not None, "events of the stream have their times"
                test = Test(one.user_id, event.item_id, event.occurred_at)
                asked = await questions_about(world.database, candidates, [test], plan)
                shown = (None, fixed[one.user_id], await world.served_text(one.user_id))
                arms = {
                    arm: await self._tester.test(arm, one.user_id, asked[one.user_id], text)
                    for arm, text in zip(ARMS, shown, strict=True)
                }
                self._keep(
                    {
                        "condition": told_as, "step": step, "user": one.user_id,
                        "ranks": {arm: tested.ranks for arm, tested in arms.items()},
                        "served": shown[-1] is not None, "kept": shown[-1] == shown[1],
                    }
                )  # fmt: skip

    async def _learn(self, world: World, step: int, static: Rows) -> None:
        study = self._study
        since = step + study.before
        if since % study.every:
            return
        users = [one.user_id for one in self._asked]
        rounds = study.first_rounds if not since else 1
        by = Writer(
            self._model,
            RetrievedCandidates(world.retrieval),
            titles_of_shop(),
            study.engine.calls_at_once,
        )
        await world.learn(
            f"stream-{since}", users, Learning(study.plan, rounds), by, lambda _, __: None
        )
        known = {row["user"] for row in static.known}
        for user in [] if since else users:
            if user not in known:
                text = await world.served_text(user)
                current, beside = (
                    (None, None) if text is None else (text.current, text.perturbation)
                )
                static.add({"user": user, "current": current, "beside": beside})

    def _keep(self, row: dict[str, Any]) -> None:
        self._kept.add(row)
        self._known.add((row["condition"], row["step"], row["user"]))
        self._watch.tell("events", len(self._known), self._of)

    async def _forecast(self, file: Path) -> None:
        study, user = self._study, self._asked[0]
        async with opened_world(file, POSITIVES) as world:
            material = await Materials(world.database, POSITIVES, world.retrieval).of(
                user.user_id, study.plan
            )
        known = await pace(self._model, study.plan, material.questions[0], material.snapshot)
        events = study.before + 2 * (study.after + 1)
        rounds = study.first_rounds + events // study.every
        rankings, texts = of_rounds(study.plan, rounds)
        # Incumbents are judged anew, on the new events.
        rankings += rounds * (1 + study.plan.paths) * study.plan.draws * study.plan.held_out
        shown = len(ARMS) * study.draws * events
        users = len(self._asked)
        self._watch.say(known.told(users * (rankings + shown), users * texts))


def _shown(row: dict[str, Any]) -> Demonstrated | None:
    return None if row["current"] is None else Demonstrated(row["current"], row["beside"])
