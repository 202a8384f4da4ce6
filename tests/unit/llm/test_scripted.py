from __future__ import annotations

import asyncio
import json
import time

from services.llm.port import GenerationRequest, JsonSchema, Sampling, Terms
from services.llm.scripted import Fault, LatencyModel, Script, ScriptedModel
from tests.unit.llm.conftest import CHAT

TERMS = Terms.within(86_400)  # later than any run of the tests


async def seconds(script: Script, prompts: int, tokens: int = 4) -> float:
    model = ScriptedModel(script)
    request = GenerationRequest(CHAT, Sampling(max_tokens=tokens))
    started = time.monotonic()
    await model.generate([request] * prompts, TERMS)
    return time.monotonic() - started


async def test_a_call_takes_what_the_latency_model_says() -> None:
    latency = LatencyModel(fixed_seconds=0.02, completion_token_seconds=0.01, slots=2)
    assert 0.06 <= await seconds(Script(latency=latency), prompts=1) < 0.09
    assert 0.06 <= await seconds(Script(latency=latency), prompts=2) < 0.09
    assert 0.12 <= await seconds(Script(latency=latency), prompts=3) < 0.16


async def test_cached_tokens_take_no_time() -> None:
    script = Script(latency=LatencyModel(prompt_token_seconds=0.002))
    model = ScriptedModel(script)
    request = GenerationRequest(CHAT, Sampling(max_tokens=1))
    (cold,) = await model.generate([request], TERMS)
    started = time.monotonic()
    (warm,) = await model.generate([request], TERMS)
    assert cold.usage.cached == 0
    assert warm.usage.cached == (warm.usage.prompt - 1) // 16 * 16
    assert time.monotonic() - started < 0.002 * warm.usage.prompt


async def test_a_writer_of_ones_own_writes() -> None:
    script = Script(writer=lambda writing: f"{len(writing.prompt)} {writing.sampling.seed}")
    request = GenerationRequest(CHAT, Sampling(max_tokens=9, temperature=1, seed=3))
    (written,) = await ScriptedModel(script).generate([request], TERMS)
    assert written.text == f"{len(script.render(CHAT))} 3"


async def test_it_writes_what_a_schema_asks_for() -> None:
    schema = {
        "type": "object",
        "properties": {
            "preference": {"type": "string", "maxLength": 40},
            "evidence": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "count": {"type": "integer", "minimum": 3},
            "sure": {"type": "boolean"},
            "kind": {"const": "tea"},
        },
    }
    request = GenerationRequest(CHAT, Sampling(max_tokens=99), JsonSchema(schema))
    (written,) = await ScriptedModel().generate([request], TERMS)
    answer = json.loads(written.text)
    assert set(answer) == set(schema["properties"])
    assert len(answer["evidence"]) == 2
    assert (answer["count"], answer["sure"], answer["kind"]) == (3, True, "tea")


async def test_a_hung_call_can_be_cancelled() -> None:
    script = Script()
    script.faults.begin(Fault.HANG)
    call = asyncio.create_task(
        ScriptedModel(script).generate([GenerationRequest(CHAT, Sampling(4))], TERMS)
    )
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
