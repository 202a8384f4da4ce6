"""One trace from a caller through gateway, queue and worker to the model server, in real processes
that send it to a real receiver; and what is never in it."""

from __future__ import annotations

import asyncio
import http.server
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lab.servers.processes import PrivateGateway, PrivateWorker
from lab.servers.scripted import served
from lab.servers.valkey import PrivateValkey
from services.bootstrap import refuse_to_start_if_wrong
from services.errors import ConfigurationError
from services.llm.chat import Chat, Message
from services.llm.errors import ModelRefused
from services.llm.measured import MeasuredModel
from services.llm.port import GenerationRequest, Sampling, Terms
from services.llm.scripted import Script, ScriptedModel
from services.llm.scripted_server import ScriptedServer
from services.llm.wire import BATCH, CHAT
from services.observability.metrics import Metrics
from services.observability.tracing import configure_tracing, headers_of_span, span
from services.ports import LOOPBACK, free_port
from tests.conftest import SettingsFactory

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
SECONDS = 60.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"  # pragma: allowlist secret
LEARNING = "0af7651916cd43dd8448eb211c80319c"  # pragma: allowlist secret
REQUEST = "asked-for-by-hand"
TITLES = [
    "Wollstonecraft lamp",
    "Euler chair",
    "Noether tent",
    "Gauss rope",
    "Hopper boots",
    "Curie stove",
]


class Collector:
    """Keeps every span by trace and service, and every body as it came."""

    def __init__(self) -> None:
        self.spans: dict[str, dict[str, list[Span]]] = defaultdict(lambda: defaultdict(list))
        self.bodies: list[bytes] = []

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {
                one.key: one.value.string_value for one in of_resource.resource.attributes
            }
            for scoped in of_resource.scope_spans:
                for one in scoped.spans:
                    self.spans[one.trace_id.hex()][attributes["service.name"]].append(one)

    def names(self, trace_id: str, service: str) -> set[str]:
        return {one.name for one in self.spans[trace_id][service]}


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    kept = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            kept.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kept, f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()


def traceparent(trace_id: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}


async def test_one_trace_goes_from_the_caller_to_the_model_server_by_way_of_the_queue(
    collector: tuple[Collector, str], database_url: str, tmp_path: Path
) -> None:
    kept, endpoint = collector
    script = ScriptedServer(Script())
    with PrivateValkey() as valkey:
        async with served(script) as llm_url:
            settings = {
                "database_url": database_url,
                "redis_url": valkey.address.state_url,
                "broker_url": valkey.address.broker_url,
                "data_dir": tmp_path,
                "llm_url": llm_url,
                "llm_model": script.script.model,
                "otlp_endpoint": endpoint,
            }
            gateway, worker = PrivateGateway(settings, tmp_path), PrivateWorker(settings, tmp_path)
            try:
                await asyncio.gather(*(asyncio.to_thread(one.start) for one in (gateway, worker)))
                await look_and_learn(gateway.url)
            finally:
                await asyncio.gather(*(asyncio.to_thread(one.stop) for one in (gateway, worker)))

    # A list: the caller's trace goes on in the gateway, and to the model server.
    assert {"POST /recommend", "candidates", "rank", "model labels"} <= kept.names(
        TRACE, "lrgd-gateway"
    )
    # Learning: begun in the gateway, put on the queue, done in the worker.
    assert {"POST /admin/runs", "queue advance_rounds"} <= kept.names(LEARNING, "lrgd-gateway")
    done = kept.names(LEARNING, "lrgd-worker")
    assert {"job advance_rounds", "round", "judge_incumbents", "write", "decide"} <= done
    whole = [one for spans in kept.spans[LEARNING].values() for one in spans]
    known = {one.span_id for one in whole} | {bytes.fromhex("00f067aa0ba902b7")}
    assert all(one.parent_span_id in known for one in whole), "a span hangs in the air"
    for trace_id in (TRACE, LEARNING):
        sent = [
            one.headers["traceparent"]
            for one in script.received
            if one.path in (CHAT, BATCH) and trace_id in one.headers.get("traceparent", "")
        ]
        assert sent, "the model server was not told of the trace"
        spans = {one.span_id.hex() for of in kept.spans[trace_id].values() for one in of}
        assert {header.split("-")[2] for header in sent} <= spans
    # Where nobody collects traces, the request's id leads as far.
    requests = [one.headers.get("x-request-id", "") for one in script.received]
    assert any(one.startswith(f"{REQUEST}-") for one in requests)

    told = b"".join(kept.bodies).lower()
    assert b"ada-lovelace" not in told
    for title in TITLES:
        assert title.split()[0].lower().encode() not in told
    # The same user is the same session for a proxy before several model servers.
    sessions = {
        one.headers["x-session-id"] for one in script.received if "x-session-id" in one.headers
    }
    assert len(sessions) == 1
    assert "ada-lovelace" not in sessions


async def look_and_learn(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=SECONDS) as client:
        items = [{"item_id": f"i{place}", "title": title} for place, title in enumerate(TITLES)]
        await client.post("/items", json=items)
        events = [
            {"user_id": "ada-lovelace", "item_id": f"i{place}", "type": "purchase"}
            for place in range(4)
        ]
        await client.post("/events", json=events)
        asked = {"user_id": "ada-lovelace", "candidates": ["i4", "i5"], "deadline_ms": 30_000}
        reply = await client.post("/recommend", json=asked, headers=traceparent(TRACE))
        assert reply.json()["source"] == "model", reply.text
        run = {"id": "r", "users": ["ada-lovelace"], "settings": {"paths": 2, "draws": 1}}
        headers = traceparent(LEARNING) | {"x-request-id": REQUEST}
        answer = await client.post("/admin/runs", json=run, headers=headers)
        assert answer.status_code == 202, answer.text
        until = time.monotonic() + SECONDS
        while (await client.get("/admin/runs/r")).json()["run"]["state"] == "running":
            assert time.monotonic() < until, "the run did not end"
            await asyncio.sleep(0.1)


async def test_a_collector_that_is_down_neither_fails_requests_nor_keeps_a_gateway_from_stopping(
    database_url: str, tmp_path: Path
) -> None:
    with PrivateValkey() as valkey:
        settings = {
            "database_url": database_url,
            "redis_url": valkey.address.state_url,
            "broker_url": valkey.address.broker_url,
            "data_dir": tmp_path,
            "otlp_endpoint": f"http://{LOOPBACK}:{free_port()}",
        }
        with PrivateGateway(settings, tmp_path) as gateway:
            async with httpx2.AsyncClient(base_url=gateway.url) as client:
                assert (await client.get("/items")).status_code == 200
            # Raises if it takes long. The signal is raised again when all is done.
            assert await asyncio.to_thread(gateway.stop) == -signal.SIGTERM


def test_without_the_packages_a_collector_stops_the_start(
    make_settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    refuse_to_start_if_wrong(make_settings())
    with pytest.raises(ConfigurationError, match=r"LRGD_OTLP_ENDPOINT is set.*extra `tracing`"):
        refuse_to_start_if_wrong(make_settings(otlp_endpoint="http://127.0.0.1:4318"))


def test_nothing_is_traced_unless_asked_for(make_settings: SettingsFactory) -> None:
    configure_tracing(make_settings(), "gateway")()
    with span("anything") as begun:
        assert not begun.is_recording()
        assert headers_of_span() == {}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What is traced in this process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


@pytest.mark.parametrize("shown", [False, True])
async def test_prompts_are_in_spans_only_where_they_are_wanted(
    spans: InMemorySpanExporter, shown: bool, dialect: str
) -> None:
    model = MeasuredModel(ScriptedModel(Script()), Metrics(), prompts_in_spans=shown)
    chat = Chat((Message("user", "what Ada has taken"),))
    request = GenerationRequest(chat, Sampling(max_tokens=8))
    await model.generate([request], Terms.within(5))
    (one,) = spans.get_finished_spans()
    assert one.name == "model generate"
    assert one.attributes is not None
    assert one.attributes["gen_ai.usage.input_tokens"]
    assert ("what Ada has taken" in str(one.attributes)) is shown


def test_an_error_is_told_by_its_type_and_never_in_its_words(
    spans: InMemorySpanExporter, dialect: str
) -> None:
    with pytest.raises(ModelRefused), span("refused"):
        raise ModelRefused("the prompt 'what Ada has taken' is too long")
    (one,) = spans.get_finished_spans()
    assert one.status.description == "ModelRefused"
    assert "Ada" not in one.to_json()
