"""Chats as the model's own template renders them, safely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.llm.chat import Chat, Message
from services.llm.errors import ModelRefused, ModelUnavailable
from services.llm.onnx.files import ModelFiles
from services.llm.onnx.tokenizer import ChatTokenizer
from services.settings import SHIPPED_MODEL
from tests.integration.llm.onnx.random_llama import write_random_llama

CHAT = Chat((Message("system", "Rank."), Message("user", "Tea or coffee?")), "Next:")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_random_llama(tmp_path)


def tokenizer_with(folder: Path, template: str) -> ChatTokenizer:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"chat_template": template}), encoding="utf-8")
    return ChatTokenizer(ModelFiles.read(folder))


def test_the_lead_begins_the_assistants_turn_without_thinking(folder: Path) -> None:
    tokenizer = ChatTokenizer(ModelFiles.read(folder))
    assert tokenizer.render(CHAT) == (
        "<|turn|>system\nRank.<|end|>\n<|turn|>user\nTea or coffee?<|end|>\n"
        "<|turn|>assistant\nNext:"
    )


def test_text_comes_back_as_it_was(folder: Path) -> None:
    tokenizer = ChatTokenizer(ModelFiles.read(folder))
    text = " émigré [12] 茶\n"
    assert tokenizer.text(tokenizer.tokens(text)) == text
    assert len(tokenizer.tokens("[12]")) == 1


@pytest.mark.parametrize(
    "text",
    ["", "\n", "one line", "Rank.\n\n[1] Tea\n[2] émigré 茶\r\n  - indented\n\n\nNext:"],
)
def test_tokens_are_counted_by_line_and_never_too_few(folder: Path, text: str) -> None:
    for tokenizer in (ChatTokenizer(ModelFiles.read(one)) for one in (folder, SHIPPED_MODEL)):
        once = tokenizer.count(text)
        assert len(tokenizer.tokens(text)) <= once <= len(tokenizer.tokens(text)) + text.count("\n")
        assert tokenizer.count(text) == once


def test_a_template_in_a_file_of_its_own_goes_first(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ bos_token }}apart:", encoding="utf-8")
    assert ChatTokenizer(ModelFiles.read(folder)).render(CHAT) == "<|begin|>apart:Next:"


def test_a_template_may_refuse_messages(folder: Path) -> None:
    tokenizer = tokenizer_with(folder, "{{ raise_exception('no system role') }}")
    with pytest.raises(ModelRefused, match="no system role"):
        tokenizer.render(CHAT)


def test_a_template_reaches_nothing_outside_the_chat(folder: Path) -> None:
    tokenizer = tokenizer_with(folder, "{{ messages.__class__.__mro__ }}")
    with pytest.raises(ModelRefused, match="unsafe"):
        tokenizer.render(CHAT)
    with pytest.raises(ModelUnavailable):
        tokenizer_with(folder, "{% for %}")


def test_a_model_names_its_files(folder: Path) -> None:
    first = ModelFiles.read(folder)
    assert first.end_tokens == (2,)
    assert first.context_tokens == 2048
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    second = ModelFiles.read(folder)
    assert first.weights_digest() == second.weights_digest()
    assert second.tokenizer_digest() not in (first.weights_digest(), first.graph_digest())
