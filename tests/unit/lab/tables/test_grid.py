"""Which settings are tried, and by which files they are judged."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pytest

from lab.evaluation.files import read_data, read_split
from lab.evaluation.questions import training_part
from lab.tables.baselines.grid import around, read_valid, whole
from lab.tables.baselines.settings import GRIDS, SETTINGS, Trained
from services.errors import ConfigurationError
from tests.unit.lab.tables.test_data import made


@pytest.mark.parametrize("name", list(Trained))
def test_a_small_grid_changes_one_setting_at_a_time(name: Trained) -> None:
    own, *changed = around(name, epochs=4)
    assert asdict(own) == asdict(SETTINGS[name]) | {"epochs": 4}
    for one in changed:
        differs = [key for key, value in asdict(own).items() if asdict(one)[key] != value]
        assert len(differs) == 1
        assert differs[0] in GRIDS[name]
    assert len(set(changed)) == len(changed) >= 6


@pytest.mark.parametrize("name", list(Trained))
def test_the_whole_grid_has_every_combination_and_the_tables_own(name: Trained) -> None:
    own, *_ = every = whole(name)
    combinations = math.prod(map(len, GRIDS[name].values()))
    assert own == SETTINGS[name]
    assert combinations <= len(every) == len(set(every)) <= combinations + 1
    assert all(one.width % one.heads == 0 for one in every)


def test_settings_are_judged_without_any_test_file(tmp_path: Path) -> None:
    made(tmp_path)
    data = read_data(tmp_path)
    test = read_split(tmp_path / "test-uniform-8.jsonl", data)
    expected = training_part(data.titles, data.sequences, test)
    for file in tmp_path.glob("test-*"):
        file.unlink()
    training, valid = read_valid(tmp_path)
    assert {split.name for split in valid} == {"valid-uniform-8.jsonl", "valid-popular-8.jsonl"}
    # So that what the tables have trained is found again.
    assert training.digest == expected.digest
    for split in valid:
        for user, target in split.targets.items():
            assert target not in training.sequences[user]


def test_without_validation_files_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    made(tmp_path)
    for file in tmp_path.glob("valid-*"):
        file.unlink()
    with pytest.raises(ConfigurationError, match="valid-"):
        read_valid(tmp_path)
