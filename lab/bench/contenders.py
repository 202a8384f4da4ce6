"""The engine that is measured: the embedded one, a vLLM of our own, or any server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice, make_model
from lab.servers.vllm import FLAGS, PrivateVllm
from services.llm.onnx import OnnxModel
from services.llm.vllm import VllmModel
from services.settings import SHIPPED_MODEL

VLLM = "vllm"
AT_ONCE = 64  # more than the clients that are measured, so that none waits on our side


@dataclass(frozen=True)
class Contender:
    """`settings` are those of a gateway that asks the same engine; `detail` says what it is."""

    choice: EngineChoice
    detail: Mapping[str, Any]

    def model(self) -> VllmModel | OnnxModel:
        return make_model(self.choice)

    @property
    def settings(self) -> dict[str, Any]:
        choice = self.choice
        if not choice.is_server:
            return {} if choice.is_lrgd_mini else {"llm_folder": str(choice.folder.resolve())}
        key = {} if choice.api_key is None else {"llm_api_key": choice.api_key}
        return {"llm_url": choice.where, "llm_model": choice.model, **key}


@contextlib.contextmanager
def contender(choice: EngineChoice | None, vllm: Path | None) -> Iterator[Contender]:
    """Without a choice: lrgd-mini on a vLLM of our own, from the environment in that folder."""
    if choice is not None:
        yield Contender(choice, {"where": choice.where, "model": choice.model})
        return
    assert vllm is not None
    with PrivateVllm(SHIPPED_MODEL, environment=vllm) as server:
        served = EngineChoice(server.url, server.model, at_once=AT_ONCE)
        yield Contender(served, {"where": "a vLLM of our own", "flags": dict(FLAGS)})
