"""Runs over HTTP: asked for, told of, cancelled, tried again; and how X_T_reg is changed."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from lab.shop.events import in_time_order, sample_users
from lab.shop.files import event_rows, item_rows
from lab.shop.taste import SHIPPED_USERS, Shop
from services.bootstrap import Services
from services.catalog.inputs import NewEvent, NewItem

RUNS = "/admin/runs"
SMALL = {"paths": 2, "draws": 2, "seed": 5}


def services_of(client: httpx2.AsyncClient) -> Services:
    services: Services = client._transport.app.state.services  # type: ignore[attr-defined]
    return services


@pytest.fixture
async def shop(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """A few users of the sample shop, and `new`, who has taken too little to learn from."""
    await stock(services_of(client), users=4)
    return client


async def stock(services: Services, users: int) -> None:
    shop = Shop()
    lives = list(sample_users(shop, SHIPPED_USERS[:users]))
    await services.catalog.upsert_items([NewItem.model_validate(row) for row in item_rows(shop)])
    await services.catalog.record(
        [NewEvent.model_validate(row) for row in event_rows(shop, in_time_order(lives))]
    )
    await services.catalog.record([NewEvent(user_id="new", item_id="item-0001", type="purchase")])


async def worked(client: httpx2.AsyncClient) -> None:
    """What workers do."""
    while await services_of(client).learner.advance(limit=4, seconds=60):
        pass


async def started(client: httpx2.AsyncClient, **wanted: Any) -> dict[str, Any]:
    answer = await client.post(RUNS, json=wanted)
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()["run"]
    return run


async def test_a_run_is_asked_for_made_and_told(shop: httpx2.AsyncClient) -> None:
    wanted = {"id": "first", "users": ["user-0001", "new"], "rounds": 2, "settings": SMALL}
    run = await started(shop, **wanted)
    assert (run["run_id"], run["state"], run["users"]) == ("first", "running", {"open": 2})
    assert run["settings"]["paths"] == 2
    assert run["settings"]["held_out"] == 3
    assert await started(shop, **wanted) == run
    other = await shop.post(RUNS, json=wanted | {"rounds": 3})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")

    await worked(shop)
    told = (await shop.get(f"{RUNS}/first")).json()
    assert told["run"]["state"] == "done"
    assert told["run"]["users"] == {"done": 1, "skipped": 1}
    assert [one["ordinal"] for one in told["per_round"]] == [1, 2]
    first = told["per_round"][0]
    assert 0 < first["zero_shot_effect_d"] <= first["effect_d"] <= 1
    assert [one["path"] for one in first["paths"]] == [0, 1]
    assert told["tokens"]["prompt"] > told["tokens"]["completion"] > 0
    assert told["run"]["spent"]["calls"] == told["tokens"]["calls"]
    assert list(told["reasons"].values()) == [1]

    metrics = (await shop.get("/metrics")).text
    assert "lrgd_round_effect_d_count{" in metrics
    assert "lrgd_memory_size_count 2.0" in metrics
    assert 'lrgd_round_similarity_count{path="0"} 1.0' in metrics


async def test_runs_are_listed_in_pages_newest_first(shop: httpx2.AsyncClient) -> None:
    for number in range(3):
        await started(shop, id=f"run-{number}", users=["user-0001"])
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await shop.get(RUNS, params=query)).json()
        found += [run["run_id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ["run-2", "run-1", "run-0"]


async def test_a_cohort_is_of_users_who_can_learn(shop: httpx2.AsyncClient) -> None:
    everybody = await started(shop, id="all", cohort="all")
    assert everybody["users"] == {"open": 4}
    await shop.post(f"{RUNS}/all/cancel")
    one = await started(shop, users=["user-0001"], settings=SMALL)
    assert one["run_id"].startswith("run-")
    await worked(shop)
    never = await started(shop, id="never", cohort="never")
    assert never["users"] == {"open": 3}
    await shop.post(f"{RUNS}/never/cancel")
    # Whoever belongs to it by now, the same call is the same run.
    assert (await started(shop, id="never", cohort="never"))["state"] == "cancelled"
    stale = await started(shop, cohort="stale")
    assert (stale["users"], stale["state"]) == ({}, "done")


async def test_a_run_is_cancelled_and_not_tried_again(shop: httpx2.AsyncClient) -> None:
    await started(shop, id="r", users=["user-0001", "user-0002"])
    cancelled = (await shop.post(f"{RUNS}/r/cancel")).json()["run"]
    assert (cancelled["state"], cancelled["users"]) == ("cancelled", {"cancelled": 2})
    again = await shop.post(f"{RUNS}/r/retry")
    assert again.status_code == 409
    assert "start another" in again.json()["detail"]


async def test_what_failed_is_tried_again(shop: httpx2.AsyncClient) -> None:
    services = services_of(shop)
    await started(shop, id="r", users=["user-0001"], settings=SMALL)
    (claimed,) = await services.ledger.claim(1)
    await services.ledger.fail(claimed, "made to fail", final=True)
    told = (await shop.get(f"{RUNS}/r")).json()
    assert (told["run"]["state"], told["reasons"]) == ("done", {"made to fail": 1})
    retried = await shop.post(f"{RUNS}/r/retry")
    assert (retried.status_code, retried.json()["run"]["state"]) == (202, "running")
    await worked(shop)
    assert (await shop.get(f"{RUNS}/r")).json()["run"]["users"] == {"done": 1}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "users"),
        ({"users": ["user-0001"], "cohort": "all"}, "either"),
        ({"users": []}, "at least 1"),
        ({"cohort": "some"}, "'all'"),
        ({"users": ["user-0001"], "rounds": 0}, "greater"),
        ({"users": ["user-0001"], "id": "online-1"}, "start by themselves"),
        ({"users": ["user-0001"], "settings": {"pathes": 2}}, "Extra"),
        (
            {"users": ["user-0001"], "settings": {"calibrated": True, "mode": "generate"}},
            "first_token",
        ),
        ({"users": ["user-0001"], "budget": {"tokens": 0}}, "greater"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_what_to_do(
    client: httpx2.AsyncClient, wanted: dict[str, Any], told: str
) -> None:
    answer = await client.post(RUNS, json=wanted)
    assert answer.status_code == 422
    assert told in str(answer.json()["errors"])


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_what_is_not_there_is_not_found(client: httpx2.AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
        answer = await client.request(method, f"{RUNS}/no-such{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    unknown = await client.post(RUNS, json={"users": ["nobody"]})
    assert unknown.status_code == 404
    assert "nobody" in unknown.json()["detail"]
    odd = await client.get(RUNS, params={"cursor": "bm9uc2Vuc2U"})
    assert odd.json()["code"] == "malformed_cursor"


# --- a change of X_T_reg ----------------------------------------------------------------------

REGULARIZATION = "/admin/regularization"
DRAFT = {"by_label": "Answer with labels alone, best first.", "by_title": "Answer with a title."}


async def compared(
    client: httpx2.AsyncClient, version: str, users: int, **limits: int
) -> dict[str, Any]:
    wanted = {"users": users, **limits}
    asked = await client.post(f"{REGULARIZATION}/{version}/compare", json=wanted)
    assert asked.status_code == 202, asked.text
    assert asked.json()["comparison"]["state"] == "waiting"
    while await services_of(client).comparisons.go_on(seconds=60):
        pass
    listed = (await client.get(REGULARIZATION)).json()
    return next(one["comparison"] for one in listed if one["version"] == version)


async def test_a_draft_is_served_once_it_was_compared_and_activated(
    shop: httpx2.AsyncClient,
) -> None:
    (shipped,) = (await shop.get(REGULARIZATION)).json()
    assert (shipped["state"], shipped["made_at"]) == ("active", None)
    draft = (await shop.put(REGULARIZATION, json=DRAFT)).json()
    assert (draft["state"], draft["comparison"]) == ("draft", None)
    assert (await shop.put(REGULARIZATION, json=DRAFT)).json() == draft
    version = draft["version"]
    too_early = await shop.post(f"{REGULARIZATION}/{version}/activate")
    assert too_early.status_code == 409
    assert "compare" in too_early.json()["detail"]

    await started(shop, users=["user-0001"], settings=SMALL)
    await worked(shop)
    comparison = await compared(shop, version, users=3)
    assert (comparison["state"], comparison["compared"]) == ("done", 3)
    assert comparison["against"] == shipped["version"]
    for name in ("effect_d", "log_score"):
        found = comparison[name]
        assert found["difference"] == pytest.approx(found["draft"] - found["active"])
        assert found["low"] <= found["difference"] <= found["high"]
    assert comparison["tokens"] > 0
    assert "user-" not in str(comparison)

    before = (await shop.get("/admin/users/user-0001/prompt")).json()
    active = (await shop.post(f"{REGULARIZATION}/{version}/activate")).json()
    assert active["state"] == "active"
    after = (await shop.get("/admin/users/user-0001/prompt")).json()
    texts = [
        next(one["text"] for one in shown["segments"] if one["name"] == "regularization")
        for shown in (before, after)
    ]
    assert shipped["by_label"] in texts[0]
    assert DRAFT["by_label"] in texts[1]
    assert before["fingerprint"] != after["fingerprint"]
    listed = (await shop.get(REGULARIZATION)).json()
    assert [one["state"] for one in listed] == ["active", "retired"]

    # What was learned stays served, and is judged again under the new text.
    services = services_of(shop)
    await services.automatic.mark_stale()
    memory = (await shop.get("/admin/users/user-0001/demonstrations")).json()
    best = [one for one in memory["variants"]["items"] if one["incumbent"]]
    assert best, "two paths, one round: nothing was accepted"
    assert all(one["stale"] for one in best)
    assert await services.automatic.nightly() == 4
    await worked(shop)
    memory = (await shop.get("/admin/users/user-0001/demonstrations")).json()
    again = [one for one in memory["variants"]["items"] if one["incumbent"]]
    assert all(not one["stale"] for one in again)
    assert {one["fingerprint"] for one in again} == {after["fingerprint"]}

    back = await shop.put(
        REGULARIZATION, json={name: shipped[name] for name in ("by_label", "by_title")}
    )
    assert (back.json()["state"], back.json()["comparison"]) == ("draft", None)


async def test_a_comparison_keeps_within_its_budget(shop: httpx2.AsyncClient) -> None:
    version = (await shop.put(REGULARIZATION, json=DRAFT)).json()["version"]
    whole = await compared(shop, version, users=4)
    assert "out_of_budget" not in whole
    budget = int(whole["tokens"]) - 1
    some = await compared(shop, version, users=4, budget_tokens=budget)
    assert (some["state"], some["out_of_budget"]) == ("done", True)
    assert 0 < some["compared"] < 4
    assert some["tokens"] <= budget
    none = await compared(shop, version, users=4, budget_tokens=1)
    assert (none["state"], none["out_of_budget"]) == ("failed", True)
    assert "budget" in none["reason"]


async def test_a_comparison_with_a_text_that_is_not_in_force_any_more_is_none(
    shop: httpx2.AsyncClient,
) -> None:
    drafts = []
    for number in range(2):
        text = DRAFT | {"by_label": f"Answer with labels {number}."}
        drafts.append((await shop.put(REGULARIZATION, json=text)).json()["version"])
        await compared(shop, drafts[-1], users=2)
    assert (await shop.post(f"{REGULARIZATION}/{drafts[0]}/activate")).status_code == 200
    refused = await shop.post(f"{REGULARIZATION}/{drafts[1]}/activate")
    assert refused.status_code == 409
    assert "compare it again" in refused.json()["detail"]
    twice = await shop.post(f"{REGULARIZATION}/{drafts[0]}/activate")
    assert twice.status_code == 409


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_a_text_that_could_speak_as_another_is_no_draft(client: httpx2.AsyncClient) -> None:
    for text in ("two\nlines", " spaces ", "x" * 500):
        answer = await client.put(REGULARIZATION, json=DRAFT | {"by_label": text})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    missing = await client.post(f"{REGULARIZATION}/no-such/compare")
    assert missing.status_code == 404
    assert (await client.post(f"{REGULARIZATION}/no-such/activate")).status_code == 404
