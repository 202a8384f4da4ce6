from __future__ import annotations

from pathlib import Path

import pytest

from lab.mini.card import make_card, rendered, write_card, write_quality
from services.demonstrations.versions import prompt_versions
from services.errors import ConfigurationError
from services.llm.card import Quality, read_card

STATE = {
    "run": {"tokens": 55_000_000, "seed": 2, "threads": 2, "width": 192, "layers": 4},
    "progress": {"tokens": 55_001_234},
    "shape": {"longest": 2048},
    "prompts": prompt_versions(),
}


def test_a_card_says_how_the_model_was_made() -> None:
    card = make_card(STATE, parameters=2_038_464)
    assert card.training.command.startswith("lrgd lab mini train ")
    assert "--millions 55 --seed 2 " in card.training.command
    assert card.prompts == prompt_versions()
    assert card.quality is None
    text = rendered(card)
    assert "2,038,464 parameters" in text
    assert "55,001,234 tokens" in text
    assert all(version in text for version in card.prompts.values())
    assert "Not measured yet." in text


def test_a_card_says_which_family_was_taught() -> None:
    card = make_card({**STATE, "shape": {"longest": 2048, "family": "qwen2"}}, parameters=1)
    assert card.architecture == "Qwen2ForCausalLM"
    assert card.training.command.endswith(" --family qwen2")
    assert make_card(STATE, parameters=1).architecture == "LlamaForCausalLM"


def test_measured_figures_are_written_for_programs_and_for_people(tmp_path: Path) -> None:
    card = make_card(STATE, parameters=1)
    assert [file.name for file in write_card(card, tmp_path)] == ["card.json", "README.md"]
    figures = {"onnx.zero_shot.ndcg@10": 0.43215, "onnx.generated.ndcg@10": 0.5}
    write_quality(tmp_path, figures, "lrgd lab mini evaluate --seed 0")
    measured = read_card(tmp_path)
    assert measured is not None
    assert measured.quality == Quality(command="lrgd lab mini evaluate --seed 0", figures=figures)
    assert measured.training == card.training
    text = (tmp_path / "README.md").read_text()
    assert "lrgd lab mini evaluate --seed 0" in text
    assert "| onnx.zero_shot.ndcg@10 | 0.4321 |" in text
    assert "Not measured" not in text


def test_figures_of_a_model_without_a_card_have_no_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no card"):
        write_quality(tmp_path, {})
