"""What a user's round works with: held-out events with their candidates, and a snapshot that ends
before the oldest of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from services.catalog.models import Item
from services.catalog.positives import PositiveEvents
from services.catalog.repository import CatalogRepository
from services.demonstrations.snapshot import PastItem, Snapshot
from services.optimizer.learning_repository import LearningRepository
from services.optimizer.plan import Plan
from services.optimizer.rules import LEAST_POSITIVES, chance, held_out_count
from services.prompts import Demonstrated
from services.ranking import Candidate, RankingRequest
from services.retrieval.covisitation import Moment
from services.retrieval.retrieval import Retrieval
from services.storage.database import Database

HISTORY_READ = 400  # of a user's newest positives
HISTORY_SHOWN = 64  # more than any prompt has room for: the prompt's own limits decide
NEIGHBORS_READ = 8
# So many times the candidates of a set: the draws are taken from these.
POOL = 2


class TooFewPositives(Exception):
    """Nothing can be held out and still leave something to write about."""


@dataclass(frozen=True, slots=True)
class Positive:
    event_id: str
    item_id: str
    occurred_at: datetime
    seq: int

    @property
    def moment(self) -> Moment:
        return Moment(self.occurred_at, self.seq)


@dataclass(frozen=True, slots=True)
class CandidatePool:
    """Items that might have been shown, best first, with their priors."""

    item_ids: tuple[str, ...]
    priors: tuple[float, ...]


Drawn = tuple[tuple[str, ...], tuple[float, ...]]
"""A candidate set: items, and their priors."""


class Candidates(Protocol):
    async def pool(
        self, user_id: str, held_out: Positive, limit: int, without: Collection[str]
    ) -> CandidatePool:
        """Of a held-out event, as of its moment, its own item not among them. `without` are ids of
        all held-out events of the user."""


class RetrievedCandidates:
    """What retrieval would have returned at that moment."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval

    async def pool(
        self, user_id: str, held_out: Positive, limit: int, without: Collection[str]
    ) -> CandidatePool:
        found = await self._retrieval.candidates(
            user_id=user_id, limit=limit + 1, as_of=held_out.moment, without=without
        )
        others = [one for one in found if one.item_id != held_out.item_id][:limit]
        return CandidatePool(
            tuple(one.item_id for one in others), tuple(one.prior for one in others)
        )


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out event among one draw of its candidates."""

    event_id: str
    draw: int
    truth: str
    request: RankingRequest
    priors: tuple[float, ...] = ()

    def under(self, demonstrated: Demonstrated | None) -> RankingRequest:
        return replace(self.request, demonstrated=demonstrated)

    @property
    def digest(self) -> str:
        """Of all that the model is shown but the demonstration."""
        request = self.request
        shown = [request.history, [(one.item_id, one.title) for one in request.candidates]]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Material:
    """`questions` by event, the newest first, then by draw."""

    snapshot: Snapshot
    questions: tuple[Question, ...]
    held_out: tuple[Positive, ...] = field(default=())

    @property
    def newest_event(self) -> str:
        return self.held_out[0].event_id


class Materials:
    """`reveals_validation` is an ablation for the lab: the snapshot then goes on to the newest
    held-out event, as if nothing were held out. Nothing that serves people sets it."""

    def __init__(
        self,
        database: Database,
        positives: PositiveEvents,
        retrieval: Retrieval,
        candidates: Candidates | None = None,
        *,
        reveals_validation: bool = False,
    ) -> None:
        self._database = database
        self._positives = positives
        self._retrieval = retrieval
        self._candidates = candidates or RetrievedCandidates(retrieval)
        self._reveals = reveals_validation

    async def of(self, user_id: str, plan: Plan) -> Material:
        """Raises TooFewPositives. Stores the candidate sets that were not drawn before."""
        async with self._database.reading() as session:
            found = await LearningRepository(session).positives(
                user_id, self._positives, HISTORY_READ
            )
            profile = await CatalogRepository(session).user(user_id)
        positives = [Positive(*row) for row in found]  # oldest first
        held_out = _held_out(positives, plan)
        oldest = held_out[-1].moment
        past = [one for one in positives if self._reveals or one.moment < oldest]
        sets = await self._sets(user_id, held_out, plan)
        neighbors = await self._neighbors(user_id, held_out) if plan.views_neighbors else []
        shown = {item for ids, _ in sets.values() for item in ids}
        async with self._database.reading() as session:
            items = await CatalogRepository(session).items_by_id(
                sorted({*(one.item_id for one in positives), *shown, *neighbors})
            )
        snapshot = Snapshot(
            tuple(_past_item(one.item_id, items.get(one.item_id)) for one in _distinct(past)),
            tuple(_past_item(item_id, items.get(item_id)) for item_id in neighbors),
            {} if profile is None else _words(profile.attributes),
        )
        if not self._reveals:
            known = {one.item_id for one in past}
            snapshot.require_free_of({one.item_id for one in held_out} - known)
        return Material(snapshot, questions_of(positives, held_out, sets, items, plan), held_out)

    async def _sets(
        self, user_id: str, held_out: Sequence[Positive], plan: Plan
    ) -> Mapping[tuple[str, int], Drawn]:
        """By event and draw. What was drawn once stays, so that variants can be compared."""
        events = [one.event_id for one in held_out]
        async with self._database.reading() as session:
            known = await LearningRepository(session).candidate_sets(events)
        draws = range(plan.draws)
        missing = [
            one for one in held_out if not all((one.event_id, draw) in known for draw in draws)
        ]
        rows = []
        for one in missing:
            pool = await self._candidates.pool(
                user_id, one, POOL * (plan.candidates - 1), frozenset(events)
            )
            for draw in draws:
                item_ids, priors = drawn(pool, one, user_id, draw, plan)
                rows.append(
                    {
                        "event_id": one.event_id, "draw": draw, "user_id": user_id,
                        "item_ids": list(item_ids), "priors": list(priors),
                    }
                )  # fmt: skip
        if not rows:
            return known

        async def store(session: Any) -> Any:
            repository = LearningRepository(session)
            await repository.store_candidate_sets(rows)
            return await repository.candidate_sets(events)

        return await self._database.write(store)

    async def _neighbors(self, user_id: str, held_out: Sequence[Positive]) -> list[str]:
        """What goes with the past as of the snapshot's end; held-out items are not named."""
        found = await self._retrieval.candidates(
            user_id=user_id,
            limit=NEIGHBORS_READ + len(held_out),
            as_of=held_out[-1].moment,
            without=frozenset(one.event_id for one in held_out),
        )
        secret = {one.item_id for one in held_out}
        return [one.item_id for one in found if one.item_id not in secret][:NEIGHBORS_READ]


def _held_out(positives: Sequence[Positive], plan: Plan) -> tuple[Positive, ...]:
    """Newest first. An event that came late is history only, and so is a repeated choice: it would
    not be among candidates that are new to the user."""
    if len(positives) < LEAST_POSITIVES:
        raise TooFewPositives
    latest: dict[str, bool] = {}
    newest_so_far: datetime | None = None
    for one in sorted(positives, key=lambda one: one.seq):
        latest[one.event_id] = newest_so_far is not None and one.occurred_at < newest_so_far
        newest_so_far = max(newest_so_far or one.occurred_at, one.occurred_at)
    seen: set[str] = set()
    first_times = []
    for one in positives:
        if one.item_id not in seen:
            first_times.append(one)
        seen.add(one.item_id)
    most = held_out_count(len(positives), plan.held_out)
    fit = [one for one in reversed(first_times) if not latest[one.event_id]][:most]
    # What is left before the oldest must be enough for a demonstration.
    while fit and len(_distinct([one for one in positives if one.moment < fit[-1].moment])) < 2:
        fit.pop()
    if not fit:
        raise TooFewPositives
    return tuple(fit)


def _distinct(positives: Sequence[Positive]) -> list[Positive]:
    """Oldest first, each item where it was taken last."""
    last = {one.item_id: one for one in positives}
    return [one for one in positives if last[one.item_id] is one]


def drawn(pool: CandidatePool, held_out: Positive, user_id: str, draw: int, plan: Plan) -> Drawn:
    """The first draw is what would have been shown, the others are samples of twice as many. The
    truth stands anywhere; its prior is not known here and counts as the least."""
    rng = chance(plan.seed, user_id, 0, draw, f"candidates {held_out.event_id}")
    others = list(zip(pool.item_ids, pool.priors, strict=True))
    most = plan.candidates - 1
    chosen = others[:most] if draw == 0 else rng.sample(others, min(most, len(others)))
    least = min(pool.priors, default=0.0)
    shown = [*chosen, (held_out.item_id, least)]
    rng.shuffle(shown)
    return tuple(item_id for item_id, _ in shown), tuple(prior for _, prior in shown)


def questions_of(
    positives: Sequence[Positive],
    held_out: Sequence[Positive],
    sets: Mapping[tuple[str, int], Drawn],
    items: Mapping[str, Item],
    plan: Plan,
) -> tuple[Question, ...]:
    def title(item_id: str) -> str | None:
        item = items.get(item_id)
        return None if item is None else item.title

    questions = []
    for one in held_out:
        before = _distinct([other for other in positives if other.moment < one.moment])
        history = tuple(title(other.item_id) for other in before[-HISTORY_SHOWN:])
        for draw in range(plan.draws):
            item_ids, priors = sets[one.event_id, draw]
            candidates = tuple(Candidate(item_id, title(item_id)) for item_id in item_ids)
            request = RankingRequest(history, candidates)
            questions.append(Question(one.event_id, draw, one.item_id, request, priors))
    return tuple(questions)


def _past_item(item_id: str, item: Item | None) -> PastItem:
    if item is None:
        return PastItem(item_id, None)
    return PastItem(item_id, item.title, _words(item.attributes))


def _words(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What can be said of it in a line."""
    return {
        name: str(value)
        for name, value in attributes.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
