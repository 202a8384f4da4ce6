"""Candidates as of a time, without named events: what a count over just those events gives."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence

import pytest

from services.bootstrap import Services
from services.catalog.models import Event
from services.retrieval import evidence
from services.retrieval.covisitation import (
    SEEDS,
    Moment,
    Neighborhood,
    covisit_scores,
    pairs_of,
    prior,
    strongest,
)
from tests.integration.retrieval.shops import at, histories_of, positives, refresh, take


async def random_shop(services: Services, rng: random.Random) -> None:
    for user in range(25):
        items = [f"item-{min(rng.randrange(20), rng.randrange(20)):02}" for _ in range(9)]
        for item in items:
            # A few moments many share: then the order received decides.
            await take(services, f"user-{user}", item, day=rng.randrange(40) / 4)


def counted_by_hand(
    events: Sequence[Event], user: str, moment: Moment, without: Collection[str]
) -> list[tuple[str, float]]:
    """The same from scratch: drop what must not be known, and count the rest."""
    kept = [event for event in events if event.event_id not in without]
    known = [event for event in kept if (event.occurred_at, event.seq) < moment]
    day = moment.occurred_at.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = [event for event in kept if event.occurred_at < day]

    weights: dict[str, Counter[str]] = {}
    users: Counter[str] = Counter()
    for history in histories_of(known).values():
        for (item, other), weight in pairs_of(history):
            if item == other:
                users[item] += 1
            else:
                weights.setdefault(item, Counter())[other] += weight
    taken = histories_of(known).get(user, [])[::-1]
    around = {
        item: Neighborhood(users[item], strongest(others)) for item, others in weights.items()
    }
    scores = covisit_scores(taken[:SEEDS], around)
    takings = len({(event.user_id, event.item_id) for event in yesterday})
    found = [
        (item, prior(scores.get(item, 0.0), users[item], takings))
        for item in sorted({event.item_id for event in events} - set(taken))
    ]
    return sorted(found, key=lambda candidate: (-round(candidate[1], 9), candidate[0]))


@pytest.mark.parametrize("seed", range(3))
async def test_it_is_what_a_count_over_the_events_before_gives(
    services: Services, seed: int
) -> None:
    rng = random.Random(seed)
    await random_shop(services, rng)
    await refresh(services)
    events = await positives(services)
    for _ in range(12):
        target = rng.choice(events)
        own = [event.event_id for event in events if event.user_id == target.user_id]
        without = rng.sample(own, rng.randrange(4))
        moment = Moment(target.occurred_at, target.seq)
        found = await services.retrieval.candidates(
            user_id=target.user_id, as_of=moment, without=without
        )
        expected = counted_by_hand(events, target.user_id, moment, without)
        assert [c.prior for c in found] == pytest.approx([score for _, score in expected])
        by_prior = sorted(found, key=lambda c: (-round(c.prior, 9), c.item_id))
        assert [c.item_id for c in by_prior] == [item for item, _ in expected]
        chosen = [c.item_id for c in found[:5]]
        assert await services.retrieval.priors(
            chosen, user_id=target.user_id, as_of=moment, without=without
        ) == pytest.approx({c.item_id: c.prior for c in found[:5]})


async def test_what_comes_later_changes_nothing(services: Services) -> None:
    await random_shop(services, random.Random(7))
    moment = Moment(at(5))
    before = await services.retrieval.candidates(user_id="user-1", as_of=moment)
    known = {candidate.item_id for candidate in before}
    for user in range(25):
        await take(services, f"user-{user}", "item-00", "brand-new", "item-19", day=5)
    after = await services.retrieval.candidates(user_id="user-1", as_of=moment)
    assert [c for c in after if c.item_id in known] == before
    assert {c.prior for c in after if c.item_id not in known} == {after[-1].prior}, (
        "the catalog does not remember when an item came, but nobody had taken it"
    )


async def test_a_held_out_event_has_no_say_even_if_it_lies_before(services: Services) -> None:
    """The truth must not be found because this user took it."""
    await take(services, "ada", "lamp", "truth")
    await take(services, "bob", "lamp", "bulb")
    await take(services, "eve", "other")
    now = Moment(at(30))
    with_it = await services.retrieval.candidates(history=["lamp"], as_of=now)
    assert [c.item_id for c in with_it][:2] == ["bulb", "truth"]
    held_out = await services.retrieval.candidates(
        user_id="ada", as_of=now, without=["ada/truth/0"]
    )
    (truth,) = [c for c in held_out if c.item_id == "truth"]
    assert held_out[-1] == truth
    assert truth.source == "popularity"


async def test_of_events_at_one_moment_the_first_received_lead(services: Services) -> None:
    await take(services, "ada", "lamp", "bulb")
    for item in ("pan", "lid"):
        await take(services, "bob", item, day=1)
    _, _, pan, lid = await positives(services)
    assert pan.occurred_at == lid.occurred_at
    seen = await services.retrieval.candidates(
        user_id="bob", as_of=Moment(lid.occurred_at, lid.seq), exclude_seen=True
    )
    assert "pan" not in {c.item_id for c in seen}
    assert "lid" in {c.item_id for c in seen}


async def test_without_a_time_everything_but_the_named_events_counts(services: Services) -> None:
    await take(services, "ada", "lamp", "bulb")
    await take(services, "bob", "lamp", "pan")
    found = await services.retrieval.candidates(user_id="ada", without=["ada/bulb/0"])
    assert [c.item_id for c in found] == ["pan", "bulb"]


async def test_of_a_very_popular_item_the_newest_users_stand_for_all(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MOST_TAKERS", 3)
    for number in range(12):
        await take(services, f"user-{number}", "hit", "old" if number < 9 else "new", day=number)
    found = await services.retrieval.candidates(history=["hit"], as_of=Moment(at(40)))
    (new,) = [c for c in found if c.item_id == "new"]
    (old,) = [c for c in found if c.item_id == "old"]
    assert (new.source, old.source) == ("covisit", "popularity")
    assert new.prior == pytest.approx(prior(12 / 12**0.5, 3, 24))
