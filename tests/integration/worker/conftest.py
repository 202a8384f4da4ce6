"""A Valkey that belongs to one test and its worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.servers.valkey import PrivateValkey


@pytest.fixture
def own_valkey() -> Iterator[PrivateValkey]:
    """One that a test may kill."""
    with PrivateValkey() as server:
        yield server
