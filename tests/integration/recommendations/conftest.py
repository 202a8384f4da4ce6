"""A shop of four shelves, and a scripted model server on a real socket that likes what a user's
history has in common with a title."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import uvicorn

from services.bootstrap import Services
from services.llm.scripted import Script
from services.llm.scripted_server import ScriptedServer
from services.ports import LOOPBACK
from tests.conftest import ClientFactory

SHELVES = ("Camp", "Desk", "Garden", "Kitchen")
THINGS = ("Lamp", "Chair", "Table", "Box", "Rug", "Clock")


@dataclass(frozen=True)
class Llm:
    """`settings` are those of a gateway that asks this server."""

    server: ScriptedServer
    url: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"llm_url": self.url, "llm_model": self.server.script.model}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def in_common(prompt: str, option: str) -> float:
    """How often the words of the option's title stand in the titles of the history."""
    # As the scripted model renders it, the last line ends the turn.
    prompt = prompt.replace("<end>", "")
    lines = [line[2:] for line in prompt.splitlines() if line.startswith("- ")]
    history = Counter(word for line in lines if " | " not in line for word in line.split())
    titles = [line.rpartition(" | ")[0] for line in lines if line.endswith(f"| {option.strip()}")]
    return float(min(9, sum(history[word] for word in titles[-1].split()))) if titles else 0.0


@pytest.fixture
async def llm() -> AsyncIterator[Llm]:
    served = ScriptedServer(Script(preference=in_common))
    config = uvicorn.Config(served, log_config=None, access_log=False, lifespan="off")
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield Llm(served, f"http://{LOOPBACK}:{listening.getsockname()[1]}/v1")
        served.faults.recover()
        server.force_exit = server.should_exit = True
        await serving


@pytest.fixture
async def shop(llm: Llm, opened_client: ClientFactory) -> AsyncIterator[httpx2.AsyncClient]:
    """Everyone has bought a Desk Lamp; `camper` a Camp Lamp and a Camp Chair besides."""
    async with opened_client(**llm.settings) as client:
        await stock(client)
        yield client


async def stock(client: httpx2.AsyncClient) -> None:
    items = [
        {"item_id": f"{shelf}-{thing}".lower(), "title": f"{shelf} {thing}", "categories": [shelf]}
        for shelf in SHELVES
        for thing in THINGS
    ]
    item_ids = [str(item["item_id"]) for item in items]
    answer = await client.post("/items", json=items)
    assert answer.status_code == 200, answer.text
    histories: dict[str, tuple[str, ...]] = {
        "camper": ("camp-lamp", "camp-chair"),
        "clerk": ("desk-lamp", "desk-box"),
        **{f"u{n}": ("desk-lamp", f"{SHELVES[n % 4]}-rug".lower()) for n in range(8)},
        **{f"all{n}": tuple(item_ids) for n in range(2)},
    }
    for user, bought in histories.items():
        await bought_by(client, user, *bought)
    await services_of(client).popularity.refresh()
    await services_of(client).recommender.prepare()


async def bought_by(client: httpx2.AsyncClient, user: str, *item_ids: str) -> None:
    answer = await client.post(
        "/events",
        json=[{"user_id": user, "item_id": item_id, "type": "purchase"} for item_id in item_ids],
    )
    assert all(row["status"] == "accepted" for row in answer.json()["results"]), answer.text


def services_of(client: httpx2.AsyncClient) -> Services:
    services: Services = client._transport.app.state.services  # type: ignore[attr-defined]
    return services


async def recommended(client: httpx2.AsyncClient, **wanted: Any) -> dict[str, Any]:
    answer = await client.post("/recommend", json=wanted)
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    items = reply["items"]
    assert [item["rank"] for item in items] == list(range(1, len(items) + 1))
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)
    return reply


def ids(reply: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in reply["items"]]
