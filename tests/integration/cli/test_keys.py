"""`lrgd keys`: made, listed, revoked; the secret is shown once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Lrgd


@pytest.fixture
def lrgd(database_url: str, tmp_path: Path) -> Lrgd:
    return Lrgd(LRGD_DATABASE_URL=database_url, LRGD_DATA_DIR=str(tmp_path))


def test_a_key_is_made_listed_without_its_secret_and_revoked(lrgd: Lrgd) -> None:
    made = lrgd("keys", "create", "--name", "shop", "--scope", "ingest", "--scope", "recommend")
    assert made.code == 0, made.said
    key = made.out.strip()
    mark, key_id, secret = key.split("_", 2)
    assert mark == "lrgd"
    assert key not in made.said

    listed = lrgd("keys", "list", "--json")
    (row,) = json.loads(listed.out)
    assert (row["key_id"], row["name"], row["scopes"]) == (key_id, "shop", ["ingest", "recommend"])
    assert row["revoked_at"] is None
    table = lrgd("keys", "list").out
    assert key_id in table
    assert secret not in table + listed.out

    assert lrgd("keys", "revoke", key_id).code == 0
    assert json.loads(lrgd("keys", "list", "--json").out)[0]["revoked_at"]
    again = lrgd("keys", "revoke", key_id)
    assert again.code == 2
    assert again.said.startswith("lrgd: ")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_key_without_a_name_or_with_an_unknown_scope_is_not_made(lrgd: Lrgd) -> None:
    assert lrgd("keys", "create", "--name", "", "--scope", "ingest").code == 2
    assert lrgd("keys", "create", "--name", "shop", "--scope", "everything").code == 2
    assert lrgd("keys", "create", "--name", "shop").code == 2
    assert json.loads(lrgd("keys", "list", "--json").out) == []
