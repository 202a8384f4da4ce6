"""`lrgd regularization`: a text drafted, compared and refused in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.servers.valkey import PrivateValkey
from tests.integration.cli.conftest import Lrgd

BY_LABEL = "Answer with labels of candidates alone, best first."
TEXTS = ("--by-label", BY_LABEL, "--by-title", "Answer with a title.")


@pytest.fixture
def lrgd(database_url: str, tmp_path: Path, valkey: PrivateValkey) -> Lrgd:
    return Lrgd(
        LRGD_DATABASE_URL=database_url,
        LRGD_DATA_DIR=str(tmp_path),
        LRGD_REDIS_URL=valkey.address.state_url,
        LRGD_BROKER_URL=valkey.address.broker_url,
    )


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_draft_is_made_shown_and_not_activated_before_it_was_compared(lrgd: Lrgd) -> None:
    (shipped,) = json.loads(lrgd("regularization", "list", "--json").out)
    assert shipped["state"] == "active"
    drafted = lrgd("regularization", "draft", *TEXTS, "--json")
    assert drafted.code == 0, drafted.said
    draft = json.loads(drafted.out)
    assert (draft["state"], draft["by_label"]) == ("draft", BY_LABEL)
    version = draft["version"]

    shown = lrgd("regularization", "show", version)
    assert BY_LABEL in shown.out
    assert "not compared" in shown.out
    too_early = lrgd("regularization", "activate", version)
    assert too_early.code != 0
    assert "compared" in too_early.said

    asked = lrgd("regularization", "compare", version, "--users", "5", "--budget-tokens", "9000")
    assert asked.code == 0, asked.said
    assert "waiting, 0 of 5 users" in asked.out
    kept = json.loads(lrgd("regularization", "show", version, "--json").out)["comparison"]
    assert (kept["budget_tokens"], kept["against"]) == (9000, shipped["version"])
    listed = lrgd("regularization", "list").out
    assert "waiting" in listed
    assert "active" in listed

    unknown = lrgd("regularization", "show", "no-such")
    assert unknown.code != 0
    assert "no version 'no-such'" in unknown.said
