"""However prompts are cut, cached, batched or packed, the model says the same."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from lab.mini.onnx_graph import UnfitModel, write_graph
from services.llm.chat import Chat, Message
from services.llm.errors import ContextOverflow, ModelTimeout, ModelUnavailable
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import (
    Choice,
    GenerationRequest,
    JsonSchema,
    Labels,
    Priority,
    Regex,
    Sampling,
    Terms,
)
from services.observability.metrics import Metrics
from tests.integration.llm.onnx.random_llama import LABELS, write_random_llama

TITLES = [
    "green tea",
    "green tea with lemon",
    "green",
    "black coffee",
    "x",
    "black tea",
    "a rather long title, so that it fills a pack: " + "word " * 40,
    "green tea",
    "",
    *(f"tea number {number}" for number in range(30)),
]


def terms(priority: Priority = Priority.LIVE) -> Terms:
    return Terms.within(60, priority)


def asking(lines: int, lead: str = "Next:") -> Chat:
    return Chat((Message("user", "- a title, seen before\n" * lines),), lead)


@pytest.fixture
async def model(folder: Path) -> AsyncIterator[OnnxModel]:
    async with OnnxModel(OnnxConfig(folder), Metrics()) as model:
        yield model


@pytest.fixture
async def uncached(folder: Path) -> AsyncIterator[OnnxModel]:
    async with OnnxModel(OnnxConfig(folder, cache_bytes=0), Metrics()) as model:
        yield model


@pytest.fixture
async def labels(model: OnnxModel) -> Labels:
    ids = [await model.tokenize(label, terms()) for label in LABELS[:50]]
    return Labels(LABELS[:50], tuple(one for (one,) in ids))


async def test_packed_titles_score_as_each_does_alone(model: OnnxModel) -> None:
    for chat in (asking(10), asking(0, "")):
        together = (await model.score_titles(chat, TITLES, terms(), end="\n")).scores
        for title, score in zip(TITLES, together, strict=True):
            (alone,) = (await model.score_titles(chat, [title], terms(), end="\n")).scores
            assert score.logprob == pytest.approx(alone.logprob, abs=1e-5)
            assert score.tokens == alone.tokens == len(title.encode()) + 1
        assert together[0] == together[7]


async def test_a_title_scores_as_the_chain_rule_says(model: OnnxModel) -> None:
    title, end, total = "tea", "\n", 0.0
    for place, sign in enumerate(title + end):
        chat = asking(3, "Next:" + title[:place])
        (number,) = await model.tokenize(sign, terms())
        (row,) = (await model.score_labels([chat], Labels((sign,), (number,)), terms())).rows
        total += row.logprobs[0]
    scores = (await model.score_titles(asking(3), [title], terms(), end=end)).scores
    assert scores[0].logprob == pytest.approx(total, abs=1e-5)


async def test_without_an_end_of_its_own_a_title_ends_the_turn(model: OnnxModel) -> None:
    as_text = await model.score_titles(asking(3), ["tea"], terms(), end="<|end|>")
    (scored,) = (await model.score_titles(asking(3), ["tea"], terms())).scores
    assert scored == as_text.scores[0]


async def test_all_tokens_together_have_probability_1(model: OnnxModel) -> None:
    labels = Labels(("",) * 128, tuple(range(128)))
    others = Labels(("",) * 128, tuple(range(128, 256)))
    rest = Labels(("",) * 128, tuple(range(256, 384)))
    last = Labels(("",) * 4, tuple(range(384, 388)))
    total = 0.0
    for some in (labels, others, rest, last):
        (row,) = (await model.score_labels([asking(2)], some, terms())).rows
        total += sum(map(math.exp, row.logprobs))
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("lines", [0, 2, 5, 20])
async def test_the_cache_changes_no_bit(
    model: OnnxModel, uncached: OnnxModel, labels: Labels, lines: int
) -> None:
    chats = [asking(lines, "Next:" + "-" * more) for more in (0, 1, 2, 63)]
    rows = (await model.score_labels(chats, labels, terms())).rows
    again = (await model.score_labels(chats, labels, terms())).rows
    cold = await uncached.score_labels(chats, labels, terms())
    assert rows == again == cold.rows
    assert cold.usage.cached == 0
    titles = [await one.score_titles(chats[0], TITLES, terms()) for one in (model, uncached)]
    assert titles[0].scores == titles[1].scores
    request = GenerationRequest(chats[0], Sampling(20, temperature=1.0, seed=1))
    written = [await one.generate([request], terms()) for one in (model, uncached)]
    assert written[0][0].text == written[1][0].text


async def test_a_prompt_scores_in_a_batch_as_alone(model: OnnxModel, labels: Labels) -> None:
    chats = [asking(lines) for lines in (7, 1, 7, 3)]
    together = (await model.score_labels(chats, labels, terms())).rows
    alone = [(await model.score_labels([chat], labels, terms())).rows[0] for chat in chats]
    assert list(together) == alone


async def test_calls_at_the_same_time_answer_as_one_by_one(
    model: OnnxModel, labels: Labels
) -> None:
    chats = [asking(lines) for lines in range(8)]
    requests = [GenerationRequest(chat, Sampling(20, temperature=1, seed=3)) for chat in chats]
    one_by_one = []
    for chat, request in zip(chats, requests, strict=True):
        labeled = await model.score_labels([chat], labels, terms())
        one_by_one.append((labeled.rows, await model.generate([request], terms())))
    scored = [model.score_labels([chat], labels, terms()) for chat in chats]
    written = [model.generate([request], terms(Priority.ROUND)) for request in requests]
    at_once = await asyncio.gather(asyncio.gather(*scored), asyncio.gather(*written))
    for (rows, texts), labeled, generated in zip(one_by_one, *at_once, strict=True):
        assert labeled.rows == rows
        assert generated[0].text == texts[0].text


async def test_the_cache_keeps_within_its_bytes(folder: Path, labels: Labels) -> None:
    block = 2 * 2 * 2 * 64 * 16 * 4  # keys and values, layers, heads, tokens, head width, bytes
    async with OnnxModel(OnnxConfig(folder, cache_bytes=4 * block), Metrics()) as model:
        first, other = asking(8), Chat((Message("user", "tea " * 30),))
        for chat, cached in ((first, 0), (first, 192), (other, 0), (first, 128), (first, 192)):
            usage = (await model.score_labels([chat], labels, terms())).usage
            assert usage.cached == cached


async def test_live_calls_go_before_a_round_that_writes(model: OnnxModel, labels: Labels) -> None:
    await model.describe(terms())
    long = GenerationRequest(asking(3), Sampling(1500), Regex("[a-z]{1500}"))
    writing = asyncio.create_task(model.generate([long], terms(Priority.ROUND)))
    await asyncio.sleep(0.02)
    await model.score_labels([asking(3)], labels, terms())
    assert not writing.done()
    writing.cancel()


async def test_writing_ends_with_its_deadline(model: OnnxModel) -> None:
    await model.describe(terms())
    long = GenerationRequest(asking(3), Sampling(1500), Regex("[a-z]{1500}"))
    with pytest.raises(ModelTimeout):
        await model.generate([long], Terms.within(0.1))


async def test_an_answer_that_may_not_fit_is_refused(model: OnnxModel) -> None:
    with pytest.raises(ContextOverflow, match="2048"):
        await model.generate([GenerationRequest(asking(3), Sampling(2048))], terms())


@pytest.mark.parametrize("seed", range(5))
async def test_constrained_answers_are_whole_and_valid(model: OnnxModel, seed: int) -> None:
    sampling = Sampling(400, temperature=1.0, seed=seed)
    schema = {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {"enum": ["tea", 'so-called "coffee"', "émigré"]},
                "minItems": 2,
                "maxItems": 4,
            },
            "because": {"type": "string", "maxLength": 8},
        },
        "required": ["items", "because"],
        "additionalProperties": False,
    }
    options = ("tea", "tea with lemon", 'so-called "coffee"', "back\\slash")
    requests = [
        GenerationRequest(asking(1), sampling, constraint)
        for constraint in (JsonSchema(schema), Choice(options), Regex(r"[a-c]{3}(, [a-c]{3})*\."))
    ]
    as_json, chosen, matched = await model.generate(requests, terms())
    answer = json.loads(as_json.text)
    assert list(answer) == ["items", "because"]
    assert set(answer["items"]) <= {"tea", 'so-called "coffee"', "émigré"}
    assert as_json.text.startswith('{"items": ["')
    assert '"], "because": "' in as_json.text
    assert chosen.text in options
    assert re.fullmatch(r"[a-c]{3}(, [a-c]{3})*\.", matched.text)
    assert as_json.constrained
    assert chosen.constrained
    assert matched.constrained


async def test_a_constraint_beyond_the_library_is_said_not_to_be_kept(model: OnnxModel) -> None:
    request = GenerationRequest(asking(1), Sampling(5), Regex(r"(a)\1"))
    (written,) = await model.generate([request], terms())
    assert not written.constrained


async def test_one_weight_file_serves_whatever_its_type(folder: Path, tmp_path: Path) -> None:
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    named = {tensor.name: tensor for tensor in graph.graph.initializer if tensor.external_data}
    places = {entry.key: entry.value for entry in named["model.norm.weight"].external_data}
    assert places["location"] == "model.safetensors"
    assert (folder / "model.onnx").stat().st_size < 50_000
    in_float32 = write_random_llama(tmp_path, dtype="F32")
    rows = []
    for where in (folder, in_float32):
        async with OnnxModel(OnnxConfig(where), Metrics()) as model:
            engine = await model.describe(terms())
            scores = await model.score_labels([asking(5)], Labels(("a", "b"), (9, 300)), terms())
            rows.append((engine.fingerprint, scores.rows[0].logprobs))
    (first, in_half), (second, in_full) = rows
    assert first.weights != second.weights
    assert first.digest != second.digest
    assert np.allclose(in_half, in_full, atol=0.05)


async def test_a_broken_or_missing_model_is_unavailable(folder: Path, tmp_path: Path) -> None:
    async def failing(where: Path) -> str:
        async with OnnxModel(OnnxConfig(where), Metrics()) as model:
            with pytest.raises(ModelUnavailable) as raised:
                await model.describe(terms())
            return str(raised.value)

    assert "model.onnx" in await failing(tmp_path)
    for name in ("model.onnx", "model.safetensors", "config.json", "tokenizer.json"):
        where = tmp_path / name
        shutil.copytree(folder, where)
        (where / name).write_bytes(b"\x01\x02")
        assert await failing(where)


async def test_a_model_of_another_kind_gets_no_graph(folder: Path, tmp_path: Path) -> None:
    text = (folder / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(text.replace('"llama"', '"mamba"'), encoding="utf-8")
    with pytest.raises(UnfitModel, match="a Llama"):
        write_graph(tmp_path)
