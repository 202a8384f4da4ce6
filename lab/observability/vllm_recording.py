"""What the pinned vLLM shows at /metrics, recorded from a real server before and after some
requests of ours, so that dashboards and alerts are checked against its names without starting it.

    python -m lab.observability.vllm_recording .venv-vllm

writes `vllm_recording.json` anew (a minute, on the CPU build). A new version of vLLM is recorded
again; names that it no longer has then fail `make observability-test`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from lab.servers.vllm import PrivateVllm
from services.llm.chat import Chat, Message
from services.llm.connection import ServerConfig
from services.llm.labels import find_labels
from services.llm.port import GenerationRequest, Sampling, Terms
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.prompts.labels import LABELS
from services.settings import SHIPPED_MODEL

FILE = Path(__file__).with_name("vllm_recording.json")
OURS = "vllm:"  # the rest is Python's and the web server's
REQUESTS = 24
SECONDS = 60.0
# So many seconds of such traffic lie between the two scrapes when the recording is played.
PLAYED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """`grew` is None for what does not only grow."""

    name: str
    labels: tuple[tuple[str, str], ...]
    before: float
    grew: float | None

    def line(self, times: float) -> str:
        labels = ",".join(f"{name}={json.dumps(value)}" for name, value in self.labels)
        return f"{self.name}{{{labels}}} {self.before + times * (self.grew or 0.0)}"


@dataclass(frozen=True)
class Recording:
    version: str
    types: dict[str, str]
    samples: tuple[Sample, ...]

    @classmethod
    def read(cls, file: Path = FILE) -> Recording:
        told = json.loads(file.read_text())
        samples = (
            Sample(name, tuple(sorted(labels.items())), before, grew)
            for name, labels, before, grew in told["samples"]
        )
        return cls(told["vllm"], told["types"], tuple(samples))

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def played(self, seconds: float) -> str:
        """The exposition after so many seconds, as if the traffic had gone on as it was."""
        lines = [f"# TYPE {name} {kind}" for name, kind in self.types.items()]
        lines += [sample.line(seconds / PLAYED_SECONDS) for sample in self.samples]
        return "\n".join(lines) + "\n"


def record(environment: Path) -> Recording:
    with PrivateVllm(SHIPPED_MODEL, environment=environment) as server:
        before = _samples(_scraped(server.url))
        asyncio.run(_ask(ServerConfig(f"{server.url}/v1", server.model)))
        text = _scraped(server.url)
        with urllib.request.urlopen(f"{server.url}/version", timeout=SECONDS) as answer:
            version = json.loads(answer.read())["version"]
    types = {family.name: family.type for family in _families(text)}
    grows = {name for name, kind in types.items() if kind in ("counter", "histogram")}
    samples = []
    for (family, name, labels), value in sorted(_samples(text).items()):
        # A series that came with the traffic had been nothing before.
        earlier = before.get((family, name, labels), 0.0)
        growing = family in grows
        samples.append(
            Sample(
                name, labels, earlier if growing else value, value - earlier if growing else None
            )
        )
    return Recording(version, _exposed(types), tuple(samples))


def write(recording: Recording, file: Path = FILE) -> None:
    rows = ",\n".join(
        json.dumps([one.name, dict(one.labels), one.before, one.grew]) for one in recording.samples
    )
    head = json.dumps({"vllm": recording.version, "types": recording.types}, indent=0)
    file.write_text(head.removesuffix("\n}") + f',\n"samples": [\n{rows}\n]}}\n')


def _exposed(types: dict[str, str]) -> dict[str, str]:
    """The parser takes `_total` off a counter's name; the text format has it."""
    return {f"{name}_total" if kind == "counter" else name: kind for name, kind in types.items()}


def _scraped(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=SECONDS) as answer:
        return str(answer.read().decode())


def _families(text: str) -> Iterable[Any]:
    return (
        one
        for one in text_string_to_metric_families(text)
        if one.name.startswith(OURS) and not one.name.endswith("_created")
    )


def _samples(text: str) -> dict[tuple[str, str, tuple[tuple[str, str], ...]], float]:
    return {
        (family.name, sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in _families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")  # of counters
    }


async def _ask(config: ServerConfig) -> None:
    """As we ask: many prompts that begin alike, one token each, and some that write."""
    async with VllmModel(config, Metrics()) as model:
        terms = Terms.within(SECONDS)
        shop = "\n".join(f"{number}. a trail shoe of kind {number}" for number in range(60))
        chats = [
            Chat((Message("user", f"{shop}\nUser {number} likes boots. Next?"),), "Next:")
            for number in range(REQUESTS)
        ]
        labels = await find_labels(model, chats[0], [f" {label}" for label in LABELS], terms)
        for chat in chats[: REQUESTS // 2]:
            await model.score_labels([chat], labels.first(50), terms)
        await model.score_labels(chats, labels.first(50), terms)
        await model.generate(
            [GenerationRequest(chat, Sampling(max_tokens=24, seed=1)) for chat in chats], terms
        )


if __name__ == "__main__":
    write(record(Path(sys.argv[1])))
