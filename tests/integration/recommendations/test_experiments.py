"""Experiments over HTTP: two arms serve differently, and reply, metrics and report say which is
better; what is forgotten or deleted, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.bootstrap import Services
from services.demonstrations.models import StoredDemonstration, StoredVariant, Switch
from services.recommendations.arms import Arm, place_of
from services.recommendations.experiment_report import DEFAULT_K
from services.recommendations.experiments import KEPT_K
from services.recommendations.wanted import Wanted
from services.storage.base import Base
from tests.conftest import ClientFactory
from tests.integration.recommendations.conftest import (
    Llm,
    bought_by,
    ids,
    recommended,
    services_of,
    stock,
)
from tests.integration.recommendations.test_recommend import until_kept

ARMS = [{"name": "as-is", "share": 0.5}, {"name": "prior", "share": 0.5, "prior_weight": 50}]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SHOPPERS = [f"shopper{n}" for n in range(12)]


async def start(
    client: httpx2.AsyncClient, name: str = "weights", arms: list[dict[str, Any]] | None = None
) -> None:
    answer = await client.put(f"/admin/experiments/{name}", json={"arms": arms or ARMS})
    assert answer.status_code == 200, answer.text


async def report(client: httpx2.AsyncClient, name: str = "weights", **asked: Any) -> dict[str, Any]:
    answer = await client.get(f"/admin/experiments/{name}", params=asked)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def by_arm(
    client: httpx2.AsyncClient, name: str = "weights", **asked: Any
) -> dict[str, dict[str, Any]]:
    return {one["arm"]["name"]: one for one in (await report(client, name, **asked))["arms"]}


def arm_of(user: str, name: str = "weights") -> str:
    return "as-is" if place_of(name, user) < 0.5 else "prior"


async def shoppers(client: httpx2.AsyncClient) -> None:
    for user in SHOPPERS:
        await bought_by(client, user, "camp-lamp", "camp-chair")


async def buy_from(client: httpx2.AsyncClient, user: str, reply: dict[str, Any], item: str) -> None:
    event = {"user_id": user, "item_id": item, "type": "purchase"}
    event["recommendation_id"] = reply["recommendation_id"]
    answer = await client.post("/events", json=event)
    assert answer.json()["accepted"] == 1, answer.text


async def written(client: httpx2.AsyncClient, replies: Iterable[dict[str, Any]]) -> None:
    for reply in replies:
        await until_kept(client, reply["recommendation_id"])


async def metric(client: httpx2.AsyncClient, line: str, value: float) -> None:
    found: list[str] = []
    for _ in range(300):
        lines = (await client.get("/metrics")).text.splitlines()
        found = [one for one in lines if one.startswith(line)]
        if found and float(found[0].rsplit(" ", 1)[1]) == pytest.approx(value):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{line} is not {value}: {found}")


async def test_two_arms_serve_differently_and_reply_metrics_and_report_say_so(
    shop: httpx2.AsyncClient,
) -> None:
    await shoppers(shop)
    await start(shop)
    replies = {user: await recommended(shop, user_id=user) for user in SHOPPERS}
    for user, reply in replies.items():
        assert (reply["experiment"], reply["arm"]) == ("weights", arm_of(user))
        # The shop's most popular item leads where the prior has all the say.
        best = "desk-lamp" if arm_of(user) == "prior" else "camp-"
        assert ids(reply)[0].startswith(best)
    await written(shop, replies.values())
    for user, reply in replies.items():  # everyone takes the second of what the model likes
        await buy_from(shop, user, reply, ids(reply)[1] if arm_of(user) == "as-is" else "camp-box")
    kept = await until_kept(shop, replies["shopper0"]["recommendation_id"])
    assert (kept["experiment"], kept["arm"]) == ("weights", arm_of("shopper0"))

    arms = await by_arm(shop, k=2)
    sizes = {name: sum(arm_of(user) == name for user in SHOPPERS) for name in arms}
    assert min(sizes.values()) > 1
    for name, told in arms.items():
        assert told["users"] == told["replies"] == told["answered"] == sizes[name]
    assert arms["as-is"]["hit_rate"]["mean"] == 1
    assert arms["as-is"]["effect_d"]["mean"] == pytest.approx(0.6309, abs=1e-4)
    assert arms["as-is"]["over_first"] is None
    assert arms["prior"]["hits"] < sizes["prior"]
    difference = arms["prior"]["effect_d"]["mean"] - arms["as-is"]["effect_d"]["mean"]
    assert arms["prior"]["over_first"]["effect_d"]["mean"] == pytest.approx(difference)

    labels = '{arm="as-is",experiment="weights"}'
    await metric(shop, f"lrgd_recommendations_by_arm_total{labels}", sizes["as-is"])
    await metric(shop, f"lrgd_online_hits_total{labels}", sizes["as-is"])
    await metric(shop, f"lrgd_online_effect_d_count{labels}", sizes["as-is"])
    await metric(shop, f"lrgd_online_effect_d_sum{labels}", sizes["as-is"] * 0.6309297535714575)


async def found_by_paths(services: Services, user: str, effects: list[float]) -> None:
    """Each path has found a demonstration; the best one is switched on."""
    best = f"{user}-v{effects.index(max(effects))}"

    async def work(session: AsyncSession) -> None:
        rows: list[Base] = []
        for path, effect in enumerate(effects):
            mine = {"user_id": user, "made_at": NOW}
            of = f"{user}-d{path}"
            rows += [
                StoredDemonstration(
                    demonstration_id=of, content={}, text=f"Liked shelf {path}.", **mine
                ),
                StoredVariant(
                    variant_id=f"{user}-v{path}", path=path, round_number=1, current_id=of,
                    incumbent=True, effect_d=effect, log_score=-1.0, tokens=5, **mine,
                ),
            ]  # fmt: skip
            session.add_all(rows)
            await session.flush()
        session.add(Switch(user_id=user, number=1, variant_id=best, reason="round", made_at=NOW))

    await services.database.write(work)
    await services.redis.flushdb()


async def test_arms_without_demonstrations_and_of_fewer_paths_serve_those(
    shop: httpx2.AsyncClient,
) -> None:
    arms = [
        {"name": "all", "share": 0.4},
        {"name": "zero-shot", "share": 0.3, "demonstrations": False},
        {"name": "m2", "share": 0.3, "paths": 2},
    ]
    await shoppers(shop)
    for user in SHOPPERS:
        await found_by_paths(services_of(shop), user, [0.4, 0.5, 0.9])
    await start(shop, "paths", arms)
    served = {"all": 2, "zero-shot": None, "m2": 1}
    seen = set()
    for user in SHOPPERS:
        reply = await recommended(shop, user_id=user, explain=True)
        variant = reply["variant"]
        assert (variant and variant["path"]) == served[reply["arm"]]
        shown = [s["text"] for s in reply["explanation"]["prompt"] if s["part"] == "X_D"]
        assert bool(shown) == (variant is not None)
        seen.add(reply["arm"])
    assert seen == set(served)


async def test_only_the_first_answer_of_the_one_who_was_served_counts(
    shop: httpx2.AsyncClient,
) -> None:
    await start(shop)
    reply = await recommended(shop, user_id="camper")
    other = await recommended(shop, user_id="camper", category="Desk")
    await written(shop, [reply, other])
    arm = reply["arm"]

    async def figures() -> tuple[int, int, float]:
        told = (await by_arm(shop))[arm]
        return told["replies"], told["answered"], told["effect_d"]["mean"]

    assert await figures() == (2, 0, 0.0)
    await buy_from(shop, "clerk", reply, ids(reply)[0])  # a list that was passed on
    view = {"user_id": "camper", "item_id": ids(reply)[0], "type": "view"}
    await shop.post("/events", json={**view, "recommendation_id": reply["recommendation_id"]})
    assert await figures() == (2, 0, 0.0)
    await buy_from(shop, "camper", reply, "garden-rug" if "garden-rug" not in ids(reply) else "x")
    assert await figures() == (2, 1, 0.0)
    await buy_from(shop, "camper", reply, ids(reply)[0])
    assert await figures() == (2, 1, 0.0), "the first answer stands"
    await buy_from(shop, "camper", other, ids(other)[2])
    assert await figures() == (2, 2, 0.25)
    labels = f'{{arm="{arm}",experiment="weights"}}'
    await metric(shop, f"lrgd_online_effect_d_count{labels}", 2)
    await metric(shop, f"lrgd_online_effect_d_sum{labels}", 0.5)


async def test_who_cannot_be_told_apart_or_chose_the_mode_is_in_no_arm(
    shop: httpx2.AsyncClient,
) -> None:
    await start(shop)
    for wanted in ({}, {"history": ["camp-lamp"]}, {"user_id": "camper", "mode": "generate"}):
        reply = await recommended(shop, **wanted)
        assert (reply["experiment"], reply["arm"]) == (None, None)
    batch = await shop.post("/recommend/batch", json=[{"user_id": "camper"}, {"k": 3}])
    arms = [row["reply"]["arm"] for row in batch.json()["results"]]
    assert arms == [arm_of("camper"), None]


async def test_what_was_ranked_for_one_arm_is_not_served_to_another(
    shop: httpx2.AsyncClient,
) -> None:
    """The very same question, but with another weight of the prior, is another question."""
    before = await recommended(shop, user_id="camper")
    assert (await recommended(shop, user_id="camper"))["stored"] is True
    weights = [{"name": "a", "share": 0.5, "prior_weight": 50}, {**ARMS[1], "name": "b"}]
    await start(shop, arms=weights)
    within = await recommended(shop, user_id="camper")
    assert within["stored"] is False
    assert ids(within) != ids(before)
    assert (await shop.post("/admin/experiments/weights/stop")).status_code == 200
    after = await recommended(shop, user_id="camper")
    assert (after["stored"], after["arm"], ids(after)) == (False, None, ids(before))


async def test_a_deleted_user_leaves_no_trace_in_the_report(shop: httpx2.AsyncClient) -> None:
    await start(shop)
    reply = await recommended(shop, user_id="camper")
    stranger = await recommended(shop, user_id="nobody-yet")
    await written(shop, [reply, stranger])
    await buy_from(shop, "camper", reply, ids(reply)[0])
    counts = {name: (a["users"], a["answered"]) for name, a in (await by_arm(shop)).items()}
    assert sorted(counts.values()) == [(0, 0), (1, 1)], "one who is in no catalog counts for none"
    await shop.delete("/users/camper")
    counts = {name: (a["users"], a["answered"]) for name, a in (await by_arm(shop)).items()}
    assert set(counts.values()) == {(0, 0)}


async def test_every_list_of_an_experiment_is_kept_and_its_figures_outlive_them(
    llm: Llm, opened_client: ClientFactory
) -> None:
    async with opened_client(**llm.settings, replies_share=0) as client:
        await stock(client)
        services = services_of(client)
        await start(client)
        reply = await recommended(client, user_id="camper")
        assert (await until_kept(client, reply["recommendation_id"]))["prompt"] == []
        await buy_from(client, "camper", reply, ids(reply)[0])
        soon = datetime.now(UTC) + timedelta(seconds=1)
        for _ in range(2):
            await services.replies.forget_before(soon)
            await services.experiments.forget_before(soon)
        running = await report(client)
        assert (
            running["forgotten"],
            running["arms"][0]["users"] + running["arms"][1]["users"],
        ) == (
            False,
            1,
        )
        await client.post("/admin/experiments/weights/stop")
        stopped = await report(client)
        await services.experiments.forget_before(datetime.now(UTC) + timedelta(seconds=1))
        gone = await client.get(f"/recommendations/{reply['recommendation_id']}")
        assert gone.status_code == 404
        left = await report(client)
        assert left == {**stopped, "forgotten": True}
        assert DEFAULT_K in KEPT_K
        refused = await client.get("/admin/experiments/weights", params={"k": 7})
        assert refused.status_code == 422
        assert "1, 3, 5, 10" in refused.json()["detail"]


async def test_an_old_list_of_an_experiment_loses_its_prompt(shop: httpx2.AsyncClient) -> None:
    await start(shop)
    reply = await recommended(shop, user_id="camper")
    assert (await until_kept(shop, reply["recommendation_id"]))["prompt"]
    await services_of(shop).replies.forget_before(datetime.now(UTC) + timedelta(seconds=1))
    kept = await until_kept(shop, reply["recommendation_id"])
    assert kept["prompt"] == []
    assert [item["item_id"] for item in kept["items"]] == ids(reply)


async def test_arms_never_change_and_one_experiment_runs_at_a_time(
    shop: httpx2.AsyncClient,
) -> None:
    await start(shop)
    first = (await shop.get("/admin/experiments")).json()
    await start(shop)
    assert (await shop.get("/admin/experiments")).json() == first
    other = [{"name": "as-is", "share": 0.4}, {"name": "prior", "share": 0.6}]
    changed = await shop.put("/admin/experiments/weights", json={"arms": other})
    assert (changed.status_code, changed.json()["code"]) == (409, "conflict")
    second = await shop.put("/admin/experiments/second", json={"arms": other})
    assert second.status_code == 409
    assert "weights" in second.json()["detail"]
    stopped = (await shop.post("/admin/experiments/weights/stop")).json()
    assert stopped["state"] == "stopped"
    assert (await shop.post("/admin/experiments/weights/stop")).json() == stopped
    assert (await shop.put("/admin/experiments/weights", json={"arms": ARMS})).json() == stopped
    await start(shop, "second", other)
    listed = (await shop.get("/admin/experiments")).json()
    assert [(one["experiment_id"], one["state"]) for one in listed] == [
        ("second", "running"),
        ("weights", "stopped"),
    ]
    for call in (shop.get("/admin/experiments/none"), shop.post("/admin/experiments/x/stop")):
        assert (await call).status_code == 404


async def test_of_many_that_start_at_once_one_runs(shop: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(shop.put(f"/admin/experiments/e{n % 4}", json={"arms": ARMS}) for n in range(12))
    )
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 409}
    assert statuses.count(200) == 3, "the same one, asked for three times"
    listed = (await shop.get("/admin/experiments")).json()
    assert [one["state"] for one in listed] == ["running"]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arms", "complaint"),
    [
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.4}], "add up to 0.9"),
        ([{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}], "same name"),
        ([{"name": "a", "share": 0.5}, {"name": "b c", "share": 0.5}], "pattern"),
        ([{"name": "a", "share": 0.99999}], "at least 2"),
        ([{"name": "a", "share": 1}, {"name": "b", "share": 0}], "less than 1"),
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "mode": "best"}], "first_token"),
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "paths": 0}], "greater than"),
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "m": 3}], "not permitted"),
        (
            [{"name": "a", "share": 0.5},
             {"name": "b", "share": 0.5, "paths": 2, "demonstrations": False}],
            "no paths",
        ),
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "mode": "likelihood"}],
         "cannot rank by likelihood"),
    ],
)  # fmt: skip
async def test_arms_that_cannot_be_are_refused_in_plain_words(
    shop: httpx2.AsyncClient, arms: list[dict[str, Any]], complaint: str
) -> None:
    answer = await shop.put("/admin/experiments/weights", json={"arms": arms})
    assert answer.status_code == 422
    assert complaint in answer.text
    assert (await shop.get("/admin/experiments")).json() == []


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["none", "a b", "x" * 65, "-a"])
async def test_a_name_that_is_no_label_is_refused(shop: httpx2.AsyncClient, name: str) -> None:
    answer = await shop.put(f"/admin/experiments/{name}", json={"arms": ARMS})
    assert answer.status_code == 422


async def test_without_a_database_the_last_known_experiment_stays_in_force(
    shop: httpx2.AsyncClient,
) -> None:
    await start(shop)
    services = services_of(shop)
    await services.database.write(
        lambda session: session.execute(text("ALTER TABLE experiments RENAME TO gone"))
    )
    await services.experiments.refresh()
    assert (await recommended(shop, user_id="camper"))["arm"] == arm_of("camper")


async def test_another_gateway_follows_within_seconds(
    shop: httpx2.AsyncClient,
    llm: Llm,
    opened_client: ClientFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.recommendations.experiments.REFRESH_SECONDS", 0.05)
    async with opened_client(**llm.settings) as other:
        experiments = services_of(other).experiments
        wanted = Wanted(user_id="camper")
        assert experiments.assigned(wanted) is None
        await start(shop)
        async with asyncio.timeout(5):
            while (assigned := experiments.assigned(wanted)) is None:
                await asyncio.sleep(0.02)
        assert isinstance(assigned.arm, Arm)
        assert assigned.arm.name == arm_of("camper")
