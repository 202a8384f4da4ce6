"""Methods that learn before they are asked: on a database made of the split's files, by the
product's own rounds, judged on the validation target and its candidates.

The test target is not in the database. A user's events end with the validation target, which the
rounds hold out: the generator does not see it either.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.evaluation.questions import Split, Training
from lab.learning.filling import Contents, copy_whole, make
from lab.learning.learning import Learning
from lab.learning.world import Writer, opened_world
from services.catalog.inputs import NewEvent, NewItem
from services.catalog.positives import PositiveEvents
from services.errors import ConfigurationError
from services.llm.port import LanguageModel
from services.optimizer.material import CandidatePool, Positive
from services.optimizer.rules import chance
from services.prompts import Demonstrated
from services.prompts.titles import fold

TAKEN = PositiveEvents.parse(["purchase"])
# The files know the order within a user and nothing else of time: whoever is only learned from has
# taken everything before anybody who is asked about.
LONG_AGO, LATELY = datetime(2020, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)

Tell = Callable[[int, int], None]


class FileCandidates:
    """Of a held-out event: those that the validation file has for this user; and for more draws,
    those that it has for other users, who had theirs drawn in the same way."""

    def __init__(self, valid: Split) -> None:
        self._by_user = {one.user_id: one.candidates for one in valid.questions}
        self._targets = valid.targets
        self._histories = {one.user_id: frozenset(one.history) for one in valid.questions}
        # Each as often as it was drawn, so that popular ones stay likely.
        self._negatives = sorted(
            item
            for one in valid.questions
            for item in one.candidates
            if item != valid.targets[one.user_id]
        )

    async def pool(
        self,
        user_id: str,
        held_out: Positive,
        limit: int,
        without: Collection[str],  # noqa: ARG002 - the files know of no events
    ) -> CandidatePool:
        if self._targets.get(user_id) != held_out.item_id:
            raise ConfigurationError(
                f"the validation file asks {user_id} about another item than the one before the "
                "test: the two files are not of one split"
            )
        own = [item for item in self._by_user[user_id] if item != held_out.item_id]
        known = {*own, held_out.item_id, *self._histories[user_id]}
        others = [item for item in self._negatives if item not in known]
        rng = chance(0, user_id, 0, 0, "others' candidates")
        rng.shuffle(others)
        more = list(dict.fromkeys(others))[: limit - len(own)]
        return CandidatePool((*own, *more), (0.0,) * (len(own) + len(more)))


@dataclass(frozen=True)
class Learned:
    """What a learning method has for each user. `digest` is of how it was learned."""

    texts: Mapping[str, Demonstrated | None]
    digest: str

    def of(self, user_id: str) -> Demonstrated | None:
        return self.texts.get(user_id)


@dataclass(frozen=True)
class Lesson:
    training: Training
    test: Split
    valid: Split
    learning: Learning


async def learn(
    folder: Path,
    lesson: Lesson,
    model: LanguageModel,
    *,
    selected: bool,
    fingerprint: str,
    tell: Tell,
) -> Learned:
    """`selected`: what the rounds serve in the end; else the first text that was written. What was
    done before is found again in `folder`."""
    users = [question.user_id for question in lesson.test.questions]
    digest = _digest(lesson.learning, fingerprint, users)
    file = folder / f"learned-{digest}.sqlite3"
    if not await asyncio.to_thread(file.exists):
        # The same for all methods that learn on these users, and long to write.
        base = folder / f"people-{_digest_of(sorted(users))}.sqlite3"
        if not await asyncio.to_thread(base.exists):
            await make(base, _contents(lesson), TAKEN)
        await asyncio.to_thread(copy_whole, base, file)
    titles = {fold(title) for title in lesson.training.titles.values() if title}
    by = Writer(model, FileCandidates(lesson.valid), titles.__contains__)
    async with opened_world(file, TAKEN) as world:
        await world.learn("lab", users, lesson.learning, by, tell)
        text = world.served_text if selected else world.first_text
        texts = {user: await text(user) for user in users}
    return Learned(texts, digest)


def _contents(lesson: Lesson) -> Contents:
    """Histories of the asked end with the validation target; all others are of the training."""
    training = lesson.training
    asked = {question.user_id: question.history for question in lesson.test.questions}
    others = {user: items for user, items in training.sequences.items() if user not in asked}
    return Contents(
        items=[NewItem(item_id=item, title=title) for item, title in training.titles.items()],
        events=[
            *_events(others, LONG_AGO, timedelta(seconds=1)),
            *_events(asked, LATELY, timedelta(hours=1)),
        ],
    )


def _events(
    histories: Mapping[str, Sequence[str]], begun: datetime, step: timedelta
) -> list[NewEvent]:
    return [
        NewEvent(
            event_id=f"{user}-{place}", user_id=user, item_id=item, type="purchase",
            occurred_at=begun + place * step,
        )
        for user, items in histories.items()
        for place, item in enumerate(items)
    ]  # fmt: skip


def _digest(learning: Learning, fingerprint: str, users: Sequence[str]) -> str:
    content = [learning.plan.as_row(), learning.rounds, fingerprint, sorted(users)]
    return _digest_of([*content, *(["reveals"] if learning.reveals_validation else [])])


def _digest_of(content: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
