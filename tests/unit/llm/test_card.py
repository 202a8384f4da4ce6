"""A model is asked only what it was taught."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.demonstrations.versions import prompt_versions
from services.errors import ConfigurationError
from services.llm.card import CARD, ModelCard, Training, WrongPrompts, expect_prompts, read_card
from services.settings import SHIPPED_MODEL

TAUGHT = {"paper": "paper-1", "generator": "generator-1"}


def card(prompts: dict[str, str]) -> ModelCard:
    return ModelCard(
        name="mini",
        purpose="Tests.",
        not_for="anything else.",
        architecture="LlamaForCausalLM",
        parameters=2,
        context_tokens=8,
        prompts=prompts,
        training=Training(command="train", seed=0, tokens=1, data="nothing"),
    )


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = card(TAUGHT)
    (tmp_path / CARD).write_text(written.model_dump_json())
    assert read_card(tmp_path) == written


def test_a_folder_without_a_card_has_none(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"name": 1}'])
def test_a_card_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / CARD).write_text(content)
    with pytest.raises(ConfigurationError, match=r"card\.json is not a model card"):
        read_card(tmp_path)


def test_the_same_prompts_are_accepted_and_more_than_those_in_use_too() -> None:
    expect_prompts(card(TAUGHT), TAUGHT)
    expect_prompts(card(TAUGHT), {"paper": "paper-1"})


def test_other_prompts_are_refused_with_both_versions_and_what_to_do() -> None:
    in_use = {"paper": "paper-2", "generator": "generator-1", "inv": "inv-1"}
    with pytest.raises(WrongPrompts) as refused:
        expect_prompts(card(TAUGHT), in_use)
    told = str(refused.value)
    assert "paper (taught paper-1, in use paper-2)" in told
    assert "inv (taught none, in use inv-1)" in told
    assert "generator" not in told
    assert "LRGD_LLM_FOLDER" in told
    assert "LRGD_LLM_URL" in told


def test_the_model_that_ships_was_taught_the_prompts_in_use() -> None:
    shipped = read_card(SHIPPED_MODEL)
    assert shipped is not None
    expect_prompts(shipped, prompt_versions())
