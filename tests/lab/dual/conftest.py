from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def mini() -> Any:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from lab.dual.families import lrgd_mini  # noqa: PLC0415 - only where torch is

    return lrgd_mini(torch.float32)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
