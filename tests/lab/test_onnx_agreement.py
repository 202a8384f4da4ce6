"""The embedded engine says what the transformers model says. In the lab's environment only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.llm.chat import Chat, Message
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import GenerationRequest, Labels, Sampling, Terms
from services.observability.metrics import Metrics
from tests.integration.llm.onnx.random_llama import write_random_llama

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.lab

SHAPES: dict[str, dict[str, int]] = {
    "grouped": {},
    "single key head": {"num_key_value_heads": 1},
    "a key head each": {"num_key_value_heads": 4},
    "deep": {"num_hidden_layers": 6, "rope_theta": 10_000},
}
CHAT = Chat((Message("system", "Rank."), Message("user", "- green tea\n" * 30)), "Next:")


@pytest.fixture(params=SHAPES, ids=str)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_random_llama(tmp_path, SHAPES[request.param])


@pytest.fixture
async def embedded(folder: Path) -> AsyncIterator[OnnxModel]:
    async with OnnxModel(OnnxConfig(folder), Metrics()) as model:
        yield model


@pytest.fixture
def reference(folder: Path) -> Any:
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def terms() -> Terms:
    return Terms.within(60)


def logprobs(reference: Any, tokens: list[int]) -> Any:
    with torch.no_grad():
        return torch.log_softmax(reference(torch.tensor([tokens])).logits[0].double(), -1)


async def test_chats_become_the_same_tokens(folder: Path, embedded: OnnxModel) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": one.role, "content": one.content} for one in CHAT.messages]
    without = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    messages.append({"role": "assistant", "content": CHAT.lead})
    with_lead = tokenizer.apply_chat_template(
        messages, continue_final_message=True, return_dict=False
    )
    assert list(await embedded.tokenize(Chat(CHAT.messages), terms())) == without
    assert list(await embedded.tokenize(CHAT, terms())) == with_lead


async def test_labels_agree(embedded: OnnxModel, reference: Any) -> None:
    labels = Labels(("",) * 128, tuple(range(200, 328)))
    prompt = await embedded.tokenize(CHAT, terms())
    expected = logprobs(reference, list(prompt))[-1, 200:328].tolist()
    for _ in ("cold", "cached"):
        (row,) = (await embedded.score_labels([CHAT], labels, terms())).rows
        assert row.logprobs == pytest.approx(expected, abs=1e-4)


async def test_packed_titles_agree(embedded: OnnxModel, reference: Any) -> None:
    titles = ["green tea", "green", "black coffee", "green teapot", "x" * 70]
    prompt = list(await embedded.tokenize(CHAT, terms()))
    scores = (await embedded.score_titles(CHAT, titles, terms(), end="\n")).scores
    for title, score in zip(titles, scores, strict=True):
        tokens = list(await embedded.tokenize(title + "\n", terms()))
        rows = logprobs(reference, prompt + tokens)[len(prompt) - 1 : -1]
        expected = rows[torch.arange(len(tokens)), torch.tensor(tokens)].sum().item()
        assert score.logprob == pytest.approx(expected, abs=1e-4)


async def test_greedy_writing_agrees(embedded: OnnxModel, reference: Any) -> None:
    tokens = list(await embedded.tokenize(CHAT, terms()))
    before = len(tokens)
    for _ in range(40):
        tokens.append(int(logprobs(reference, tokens)[-1].argmax()))
        if tokens[-1] == reference.config.eos_token_id:
            tokens.pop()
            break
    (written,) = await embedded.generate([GenerationRequest(CHAT, Sampling(40))], terms())
    assert written.usage.completion >= 1
    prompt_and_text = await embedded.tokenize(Chat(CHAT.messages, CHAT.lead), terms())
    assert len(prompt_and_text) == before
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
        str(reference.config._name_or_path)
    )
    assert written.text == tokenizer.decode(tokens[before:], skip_special_tokens=True)
