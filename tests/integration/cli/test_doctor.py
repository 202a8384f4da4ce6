"""The doctor examines whichever model is configured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from services.demonstrations.versions import prompt_versions
from services.ports import free_port
from services.settings import SHIPPED_MODEL
from tests.integration.cli.conftest import Lrgd


def test_the_embedded_model_is_told_with_its_card() -> None:
    done = Lrgd()("doctor")
    assert done.code == 0, done.said
    assert "lrgd-mini on onnxruntime" in done.out
    assert str(SHIPPED_MODEL) in done.out
    for version in prompt_versions().values():
        assert version in done.out
    assert "first_token reads the log-prob of every label" in done.out
    assert "refused" not in done.out


def test_programs_read_the_same_as_json() -> None:
    done = Lrgd()("doctor", "--json")
    told = json.loads(done.out)
    assert told["folder"] == str(SHIPPED_MODEL)
    assert told["fingerprint"]["model"] == told["card"]["name"] == "lrgd-mini"
    assert len(told["fingerprint"]["digest"]) == 16
    assert told["card"]["prompts"] == prompt_versions()
    assert told["abilities"]["title_likelihood"]["outcome"] == "honored"


def test_a_model_without_a_card_is_said_to_have_none(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED_MODEL, tmp_path / "other")
    (folder / "card.json").unlink()
    doctor = Lrgd(LRGD_LLM_FOLDER=str(folder))
    assert "It has no card" in doctor("doctor").out
    assert json.loads(doctor("doctor", "--json").out)["card"] is None


def test_files_that_do_not_load_are_told_in_one_line(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED_MODEL, tmp_path / "broken")
    (folder / "model.onnx").write_bytes(b"no graph")
    doctor = Lrgd(LRGD_LLM_FOLDER=str(folder))
    assert doctor("doctor").code == 1
    assert "ONNX Runtime cannot load" in doctor("doctor").said
    assert json.loads(doctor("doctor", "--json").out)["outcome"] == "unavailable"


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    done = Lrgd(LRGD_LLM_URL=url, LRGD_LLM_MODEL="any")("doctor")
    assert done.code == 1
    assert "no connection to the model server" in done.said


@pytest.mark.parametrize("command", ["up", "gateway", "worker", "beat", "doctor"])
def test_nothing_starts_with_a_folder_that_holds_no_model(command: str, tmp_path: Path) -> None:
    lrgd = Lrgd(
        LRGD_DATA_DIR=str(tmp_path),
        LRGD_REDIS_URL="redis://127.0.0.1:1",
        LRGD_BROKER_URL="redis://127.0.0.1:1",
        LRGD_LLM_FOLDER=str(tmp_path / "nowhere"),
    )
    done = lrgd.process(command)
    assert done.code == 2
    assert "LRGD_LLM_FOLDER" in done.said
    assert "it lacks model.onnx" in done.said
