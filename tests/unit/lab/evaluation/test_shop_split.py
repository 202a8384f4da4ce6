from __future__ import annotations

from pathlib import Path

import pytest

from lab.evaluation.files import read_data, read_split
from lab.evaluation.shop_split import write_shop_split
from lab.mini.conditions import questions
from lab.shop.events import user_id
from lab.shop.taste import EVALUATION_USERS, Shop
from services.errors import ConfigurationError

USERS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_shop_split(folder / "test-5.jsonl", USERS, crowd=20)
    return folder


def test_what_is_written_can_be_read(folder: Path) -> None:
    data = read_data(folder)
    test, valid = (read_split(folder / f"{kind}-5.jsonl", data) for kind in ("test", "valid"))
    assert len(data.sequences) == USERS + 20
    assert len(data.titles) == 800
    for now, before in zip(test.questions, valid.questions, strict=True):
        sequence = data.sequences[now.user_id]
        assert now.history == sequence[:-1]
        assert before.history == sequence[:-2]
        assert test.targets[now.user_id] == sequence[-1]
        assert valid.targets[now.user_id] == sequence[-2]
        assert len(now.candidates) == len(before.candidates) == 50
        assert set(now.candidates) & set(sequence) == {sequence[-1]}
        assert set(before.candidates) & set(sequence) == {sequence[-2]}


def test_its_test_questions_are_those_of_the_model_card(folder: Path) -> None:
    split = read_split(folder / "test-5.jsonl", read_data(folder))
    for question, asked in zip(
        split.questions, questions(Shop(), EVALUATION_USERS[:USERS], 10), strict=True
    ):
        assert question.user_id == user_id(asked.user)
        assert question.candidates == tuple(one.item_id for one in asked.request.candidates)
        assert split.targets[question.user_id] == asked.truth


def test_the_same_bytes_every_time(folder: Path, tmp_path: Path) -> None:
    for file in write_shop_split(tmp_path / "test-5.jsonl", USERS, crowd=20):
        assert file.read_bytes() == (folder / file.name).read_bytes()


def test_a_name_from_which_no_other_can_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must begin with test-"):
        write_shop_split(tmp_path / "mine.jsonl", USERS)
