"""The OpenAPI document: valid, and true of what the gateway answers to whatever it is sent."""

from __future__ import annotations

import asyncio
import copy
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.app import create_app
from lab.servers.valkey import PrivateValkey
from services.ports import LOOPBACK
from services.settings import Settings
from services.storage.redis import HEARTBEAT

DOCUMENT: dict[str, Any] = create_app(Settings.model_construct()).openapi()
OPEN = ("/healthz", "/readyz", "/metrics")
EXAMPLES = 60


def without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """As it is for a gateway that asks for no keys."""
    open_to_all = copy.deepcopy(document)
    open_to_all["components"].pop("securitySchemes")
    for methods in open_to_all["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return open_to_all


schema = schemathesis.openapi.from_dict(
    without_keys(DOCUMENT),
    config=SchemathesisConfig(
        seed=1,
        projects=ProjectsConfig(
            default=ProjectConfig(generation=GenerationConfig(deterministic=True, database="none"))
        ),
    ),
)


@schemathesis.serializer("application/x-ndjson")
def lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    return str(value).encode(errors="replace")


class _Gateway(threading.Thread):
    """A gateway over a socket, in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="gateway", daemon=True)
        self._socket = socket.socket()
        self._socket.bind((LOOPBACK, 0))
        self._server = uvicorn.Server(
            uvicorn.Config(create_app(settings), log_config=None, access_log=False, lifespan="on")
        )
        self.url = f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        self._server.should_exit = True
        self.join(20)
        self._socket.close()


@pytest.fixture(scope="module")
def gateway_url(
    tmp_path_factory: pytest.TempPathFactory, valkey: PrivateValkey, _migrated_sqlite: bytes
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "lrgd.sqlite3").write_bytes(_migrated_sqlite)
    gateway = _Gateway(
        Settings.model_validate(
            {
                "data_dir": Path(folder),
                **valkey.settings,
                "rate_limit_per_minute": 0,
                "heartbeat_stale_seconds": 3600,
            }
        )
    )
    gateway.start()
    with valkey.client as redis:
        redis.set(HEARTBEAT, time.time())
    with httpx2.Client(base_url=gateway.url, transport=httpx2.HTTPTransport(retries=5)) as client:
        for path, methods in DOCUMENT["paths"].items():  # so that something can be found
            body = methods.get("post", {}).get("requestBody", {}).get("content", {})
            example = body.get("application/json", {}).get("example")
            if example and path != "/recommend":
                assert client.post(path, json=example).json()["accepted"] == 1
    yield gateway.url
    gateway.stop()


@schema.parametrize()
@hypothesis_settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_what_is_answered_is_what_the_document_says(
    case: schemathesis.Case[Any], gateway_url: str
) -> None:
    response = case.call(base_url=gateway_url)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            response_headers_conformance,
            unsupported_method,
            allow_header_conformance,
        ],
    )


def test_the_document_is_valid_openapi() -> None:
    schema.validate()
    assert DOCUMENT["openapi"].startswith("3.1")
    alike = Counter(re.sub(r"\{.*?\}", "{}", path) for path in DOCUMENT["paths"])
    assert max(alike.values()) == 1, "paths that differ in the names of their parts are one path"


OPERATIONS = [
    pytest.param(path, operation, id=f"{method} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_errors_are_documented_as_problems(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    errors = {status: told for status, told in responses.items() if status >= "400"}
    if path in OPEN:
        assert set(errors) <= {"503"}
        return
    assert {"401", "403", "422", "429", "503"} <= set(errors)
    if "requestBody" in operation and not path.startswith("/imports"):
        assert "413" in errors
    for told in errors.values():
        assert list(told["content"]) == ["application/problem+json"]
        assert told["content"]["application/problem+json"]["schema"] == {
            "$ref": "#/components/schemas/Problem"
        }
        assert told["description"]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_every_call_says_what_it_does_and_what_it_needs(
    path: str, operation: dict[str, Any]
) -> None:
    assert operation.get("description") or operation.get("summary")
    assert operation["operationId"]
    assert bool(operation.get("security")) == (path not in OPEN)


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    schemas = DOCUMENT["components"]["schemas"]
    wanted = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert wanted <= set(schemas)
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
