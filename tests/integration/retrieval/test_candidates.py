"""Candidates now: what goes with a user's items, then what is popular, then the rest."""

from __future__ import annotations

import pytest

from services.bootstrap import Services
from services.catalog.inputs import NewItem
from services.retrieval.covisitation import Moment
from services.retrieval.index_repository import IndexRepository
from services.retrieval.retrieval import Candidate, Source
from tests.integration.retrieval.shops import at, refresh, take

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def ids(candidates: list[Candidate]) -> list[str]:
    return [candidate.item_id for candidate in candidates]


async def fill(services: Services) -> None:
    """Lamps go with bulbs, pans with lids, and everybody has the hit."""
    for number in range(4):
        await take(services, f"lamps-{number}", "hit", "lamp", "bulb", day=number)
        await take(services, f"pans-{number}", "hit", "pan", "lid", day=number)
    await take(services, "once", "rare")
    await refresh(services)


async def test_what_goes_with_the_users_items_leads_then_what_is_popular(
    services: Services,
) -> None:
    await fill(services)
    await take(services, "ada", "lamp", day=9)
    found = await services.retrieval.candidates(user_id="ada")
    assert ids(found) == ["bulb", "hit", "lid", "pan", "rare"]
    assert [candidate.source for candidate in found] == [
        *[Source.COVISIT] * 2,
        *[Source.POPULARITY] * 3,
    ]
    priors = [candidate.prior for candidate in found]
    assert priors == sorted(priors, reverse=True)
    assert found[0].title is None


async def test_history_of_the_caller_counts_as_newer_than_the_users_own(
    services: Services,
) -> None:
    await fill(services)
    await take(services, "ada", "lamp", day=9)
    found = ids(await services.retrieval.candidates(user_id="ada", history=["pan"]))
    assert found == ["lid", "hit", "bulb", "rare"], "the hit goes with both"
    assert ids(await services.retrieval.candidates(history=["pan", "lamp"], limit=1)) == ["bulb"]


async def test_nobody_in_particular_gets_what_is_popular(services: Services) -> None:
    await fill(services)
    found = await services.retrieval.candidates()
    assert ids(found) == ["hit", "bulb", "lamp", "lid", "pan", "rare"]
    assert ids(await services.retrieval.candidates(user_id="a stranger")) == ids(found)
    assert ids(await services.retrieval.candidates(limit=2)) == ["hit", "bulb"]


async def test_what_the_user_has_comes_only_if_it_may(services: Services) -> None:
    await fill(services)
    unseen = await services.retrieval.candidates(user_id="lamps-0")
    assert not {"hit", "lamp", "bulb"} & set(ids(unseen))
    everything = await services.retrieval.candidates(user_id="lamps-0", exclude_seen=False)
    assert len(everything) == 6


async def test_a_look_takes_nothing_off_the_list(services: Services) -> None:
    await fill(services)
    await take(services, "ada", "hit", type_="view")
    assert ids(await services.retrieval.candidates(user_id="ada"))[0] == "hit"


async def test_hidden_and_deleted_items_are_no_candidates(services: Services) -> None:
    await fill(services)
    await services.catalog.upsert_items([NewItem(item_id="bulb", hidden=True)])
    await services.catalog.delete_item("rare")
    assert ids(await services.retrieval.candidates(history=["lamp"])) == ["hit", "lid", "pan"]


async def test_only_items_of_the_categories_are_candidates(services: Services) -> None:
    await fill(services)
    await services.catalog.upsert_items(
        [
            NewItem(item_id="bulb", title="Bulb", categories=["light", "small"]),
            NewItem(item_id="rare", categories=["light"]),
            NewItem(item_id="new", categories=["light"]),
            NewItem(item_id="lid", categories=["kitchen"]),
            NewItem(item_id="secret", categories=["light"], hidden=True),
        ]
    )
    retrieval = services.retrieval
    found = await retrieval.candidates(history=["lamp"], categories=["light"])
    assert ids(found) == ["bulb", "rare", "new"]
    assert found[0].title == "Bulb"
    both = await retrieval.candidates(history=["lamp"], categories=["light", "kitchen"])
    assert ids(both) == ["bulb", "lid", "rare", "new"]
    assert await retrieval.candidates(categories=["li"]) == []


async def test_a_category_beside_the_popular_list_comes_by_its_own_popularity(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.retrieval.popularity.LENGTH", 2)
    await fill(services)
    await take(services, "eve", "z", "y")
    await take(services, "joe", "z")
    await services.catalog.upsert_items(
        [NewItem(item_id=item, categories=["odd"]) for item in ("x", "y", "z")]
    )
    await refresh(services)
    assert ids(await services.retrieval.candidates(categories=["odd"])) == ["z", "y", "x"]


async def test_a_shop_without_events_gives_what_it_has(services: Services) -> None:
    await services.catalog.upsert_items([NewItem(item_id=item) for item in ("c", "a", "b")])
    assert ids(await services.retrieval.candidates(history=["a"])) == ["b", "c"]
    assert await services.retrieval.candidates(history=["a", "b", "c"]) == []


async def test_without_an_index_popularity_alone_answers(services: Services) -> None:
    await take(services, "ada", "lamp", "bulb")
    await take(services, "bob", "bulb")
    found = await services.retrieval.candidates(user_id="ada", exclude_seen=False)
    assert ids(found) == ["bulb", "lamp"]
    assert {candidate.source for candidate in found} == {Source.POPULARITY}


async def test_fifty_by_default_the_best_of_all(services: Services) -> None:
    for number in range(70):
        await take(services, f"user-{number}", "seed", f"item-{number:02}")
    for number in range(30, 60):
        await take(services, f"again-{number}", "seed", f"item-{number:02}", day=1)
    await refresh(services)
    found = ids(await services.retrieval.candidates(history=["seed"]))
    assert len(found) == 50
    assert found[:30] == [f"item-{number:02}" for number in range(30, 60)]


async def test_priors_of_chosen_items_are_those_of_the_candidates(services: Services) -> None:
    await fill(services)
    retrieval = services.retrieval
    found = {c.item_id: c.prior for c in await retrieval.candidates(user_id="lamps-0")}
    assert await retrieval.priors(list(found), user_id="lamps-0") == pytest.approx(found)
    priors = await retrieval.priors(["bulb", "nowhere"], history=["lamp"])
    assert priors["nowhere"] < priors["bulb"]


@on_sqlite
async def test_seeds_that_the_process_does_not_know_are_read_together(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(services)
    asked: list[list[str]] = []
    original = IndexRepository.neighborhoods

    async def counted(self: IndexRepository, items: list[str]) -> object:
        asked.append(list(items))
        return await original(self, items)

    monkeypatch.setattr(IndexRepository, "neighborhoods", counted)
    await services.retrieval.candidates(history=["lamp", "pan", "new"])
    await services.retrieval.candidates(history=["pan", "lamp", "lid", "new"])
    assert asked == [["new", "pan", "lamp"], ["lid"]]


async def test_a_moment_before_everything_knows_nothing(services: Services) -> None:
    await fill(services)
    found = await services.retrieval.candidates(history=["lamp"], as_of=Moment(at(-1)))
    assert ids(found) == ["bulb", "hit", "lid", "pan", "rare"], "by id: nobody took anything yet"
    assert {candidate.source for candidate in found} == {Source.POPULARITY}
