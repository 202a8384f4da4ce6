"""Texts that a bandit picks from: what the model is told, and what the pick may depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lab.evaluation.methods import Pool
from lab.evaluation.picked import HINTS, Picking
from lab.evaluation.questions import Split
from services.llm.port import Generated, GenerationRequest, Terms
from services.llm.scripted import ScriptedModel
from tests.unit.lab.evaluation.test_methods import means_of


class Listening(ScriptedModel):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.seeds: set[int | None] = set()

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]:
        self.seeds |= {request.sampling.seed for request in requests}
        self.asked += [request.chat.messages[0].content for request in requests]
        return await super().generate(requests, terms)


def picking(split: Split, folder: Path, model: ScriptedModel | None = None) -> Picking:
    """On one file for both: what is asked in the test matters to nothing but the context."""
    means = means_of(split, model or ScriptedModel())
    return Picking(means, split.questions, split, folder, "engine")


def quiet(*_: object) -> None:
    pass


def written_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


async def test_a_generator_is_never_told_the_validation_target(
    split: Split, tmp_path: Path
) -> None:
    model = Listening()
    await picking(split, tmp_path, model).picked(Pool.PERSPECTIVES, quiet)
    assert model.asked
    for target in split.targets.values():
        assert not any(f"Title {target}\n" in f"{prompt}\n" for prompt in model.asked)


@pytest.mark.parametrize("pool", list(Pool))
async def test_everybody_has_a_text_or_none_and_the_same_again(
    pool: Pool, split: Split, tmp_path: Path
) -> None:
    first = await picking(split, tmp_path).picked(pool, quiet)
    assert set(first.texts) == {question.user_id for question in split.questions}
    model = Listening()
    again = await picking(split, tmp_path, model).picked(pool, quiet)
    assert again == first
    assert not model.asked  # what was written is kept


async def test_another_seed_writes_texts_of_its_own(split: Split, tmp_path: Path) -> None:
    first, other = Listening(), Listening()
    await picking(split, tmp_path, first).picked(Pool.PERSPECTIVES, quiet)
    kept = written_in(tmp_path)
    await replace(picking(split, tmp_path, other), seed=1).picked(Pool.PERSPECTIVES, quiet)
    assert first.seeds.isdisjoint(other.seeds)
    assert None not in first.seeds | other.seeds
    assert len(other.seeds) == len(first.seeds) > 0
    assert kept.items() <= written_in(tmp_path).items()


async def test_hints_are_of_the_list(split: Split, tmp_path: Path) -> None:
    found = await picking(split, tmp_path).picked(Pool.HINTS, quiet)
    assert {text.current for text in found.texts.values() if text} <= set(HINTS)


async def test_who_is_asked_in_the_test_alone_is_shown_nothing(
    split: Split, tmp_path: Path
) -> None:
    known = replace(split, questions=split.questions[:1])
    found = await replace(picking(split, tmp_path), valid=known).picked(Pool.HINTS, quiet)
    assert set(found.texts) == {split.questions[0].user_id}
    assert found.of(split.questions[1].user_id) is None
