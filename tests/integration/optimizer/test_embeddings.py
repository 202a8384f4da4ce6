"""Texts compared by meaning, as a server on the network sees it. The server is a stub: its
"embeddings" are counts of a few words."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from services.demonstrations.embeddings import AT_ONCE, Embeddings, EmbeddingsConfig
from services.demonstrations.likeness import Likeness, SimilarityBy
from services.errors import ConfigurationError
from services.llm.errors import (
    MalformedAnswer,
    ModelError,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
)

WORDS = ("tent", "radio", "lamp")


class StubServer(ThreadingHTTPServer):
    """Answers as `wanted` says; `asked` keeps the bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Stub)
        self.asked: list[dict[str, Any]] = []
        self.wanted = "embeddings"
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Stub(BaseHTTPRequestHandler):
    server: StubServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body | {"path": self.path, "key": self.headers["authorization"]})
        rows = [
            {"index": place, "embedding": [float(text.count(word)) for word in WORDS]}
            for place, text in enumerate(body["input"])
        ]
        match self.server.wanted:
            case "embeddings":
                # In any order: an answer says which text each vector is of.
                self._answer(200, {"data": rows[::-1], "model": body["model"]})
            case "one too few":
                self._answer(200, {"data": rows[1:]})
            case "something else":
                self._answer(200, {"choices": []})
            case "never":
                self.server.over.wait()
            case status:
                self._answer(int(status), {"error": {"message": "no such model"}})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with StubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def config(stub: StubServer, seconds: float = 10) -> EmbeddingsConfig:
    return EmbeddingsConfig(stub.url, "a-model", "secret", seconds)


async def test_texts_are_as_alike_as_what_they_mean(stub: StubServer) -> None:
    pairs = [
        ("a tent", "tent, tent"),
        ("a tent", "a lamp"),
        ("a tent", "tent and lamp"),
        ("none of these", "tent"),
    ]
    async with Embeddings(config(stub)) as embeddings:
        found = await Likeness(embeddings).of(SimilarityBy.EMBEDDINGS, pairs)
    assert found == pytest.approx([1.0, 0.0, math.sqrt(0.5), 0.0])
    (asked,) = stub.asked
    assert asked["path"] == "/v1/embeddings"
    assert asked["model"] == "a-model"
    assert asked["key"] == "Bearer secret"
    assert len(asked["input"]) == len(set(asked["input"])) == 6, "each text is sent once"


async def test_many_texts_are_sent_in_batches(stub: StubServer) -> None:
    pairs = [(f"tent {number}", f"lamp {number}") for number in range(AT_ONCE)]
    async with Embeddings(config(stub)) as embeddings:
        assert await embeddings.alike(pairs) == [0.0] * AT_ONCE
    assert [len(asked["input"]) for asked in stub.asked] == [AT_ONCE, AT_ONCE]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("500", ModelUnavailable),
        ("429", ModelUnavailable),
        ("404", ModelRefused),
        ("one too few", MalformedAnswer),
        ("something else", MalformedAnswer),
    ],
)
async def test_a_server_that_fails_is_an_error_of_the_model(
    stub: StubServer, wanted: str, error: type[ModelError]
) -> None:
    stub.wanted = wanted
    async with Embeddings(config(stub)) as embeddings:
        with pytest.raises(error, match="embeddings server"):
            await embeddings.alike([("tent", "lamp")])


async def test_an_answer_that_never_comes_is_not_waited_for(stub: StubServer) -> None:
    stub.wanted = "never"
    async with Embeddings(config(stub, seconds=0.1)) as embeddings:
        with pytest.raises(ModelTimeout, match="did not answer within"):
            await embeddings.alike([("tent", "lamp")])


async def test_a_server_that_is_not_there_is_unavailable(stub: StubServer) -> None:
    gone = config(stub)
    stub.server_close()
    async with Embeddings(gone) as embeddings:
        with pytest.raises(ModelUnavailable, match="no connection"):
            await embeddings.alike([("tent", "lamp")])


async def test_without_a_server_n_grams_do_and_embeddings_name_the_settings() -> None:
    likeness = Likeness()
    assert await likeness.of(SimilarityBy.NGRAMS, [("a tent", "a tent")]) == pytest.approx([1])
    with pytest.raises(ConfigurationError, match="LRGD_EMBEDDINGS_URL"):
        await likeness.of(SimilarityBy.EMBEDDINGS, [("a tent", "a tent")])
