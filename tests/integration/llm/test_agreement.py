"""The two engines say the same: what is learned with one holds with the other."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from lab.servers.vllm import PrivateVllm
from services.catalog.sample import FOLDER
from services.llm.connection import ServerConfig
from services.llm.labels import find_labels
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import Count, Terms
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.prompts import LABELS, Prompt, PromptFormat, PromptRequest, compose
from services.settings import SHIPPED_MODEL

USERS, CANDIDATES = 20, 50


def composed(count: Count) -> list[Prompt]:
    """Of users of the sample shop, each over candidates of its own."""
    with (FOLDER / "items.jsonl").open() as file:
        titles = {item["item_id"]: item["title"] for item in map(json.loads, file)}
    histories: dict[str, list[str]] = defaultdict(list)
    with gzip.open(FOLDER / "events.jsonl.gz", "rt") as file:
        for event in map(json.loads, file):
            if event["type"] == "purchase":
                histories[event["user_id"]].append(titles[event["item_id"]])
    draws = random.Random(0)
    return [
        compose(
            PromptFormat(),
            PromptRequest(tuple(history), tuple(draws.sample(list(titles.values()), CANDIDATES))),
            count,
        )
        for _, history in sorted(histories.items())[:USERS]
    ]


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    first, second = (np.argsort(np.argsort(values)) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


@pytest.mark.vllm
@pytest.mark.timeout(400)
async def test_onnx_runtime_and_vllm_rank_alike(vllm_server: PrivateVllm) -> None:
    server = ServerConfig(vllm_server.url, vllm_server.model)
    terms = Terms.within(120)
    async with (
        OnnxModel(OnnxConfig(SHIPPED_MODEL), Metrics()) as embedded,
        VllmModel(server, Metrics()) as served,
    ):
        prompts = composed(await embedded.counter(terms))
        chats = [prompt.chat() for prompt in prompts]
        for chat in chats:
            assert await embedded.tokenize(chat, terms) == await served.tokenize(chat, terms)
        texts = [prompts[0].continued(label) for label in LABELS]
        labels = await find_labels(embedded, chats[0], texts, terms, at_least=len(LABELS))
        assert labels == await find_labels(served, chats[0], texts, terms, at_least=len(LABELS))
        shown = labels.first(CANDIDATES)
        ours = (await embedded.score_labels(chats, shown, terms)).rows
        theirs = (await served.score_labels(chats, shown, terms)).rows
    pairs = [(one.logprobs, other.logprobs) for one, other in zip(ours, theirs, strict=True)]
    assert len(pairs) == USERS
    assert np.mean([spearman(*pair) for pair in pairs]) >= 0.99
    assert np.abs(np.diff(np.array(pairs), axis=1)).max() < 0.01
