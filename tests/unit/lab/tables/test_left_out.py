"""A row that an engine cannot be asked for does not keep a table from its others."""

from __future__ import annotations

from typing import cast

import pytest

from lab.evaluation.evaluation import Watch
from lab.tables.kept import KeptRow
from lab.tables.table2 import Bench, _row
from services.llm.errors import LabelsUnfit, ModelUnavailable


class Raises:
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def row(self, row: str, watch: Watch) -> KeptRow:
        raise self._error


async def test_it_is_told_and_left_out() -> None:
    said: list[str] = []
    bench = cast("Bench", Raises(LabelsUnfit("no label is one token")))
    found = await _row(bench, "llm4rs", Watch(lambda *_: None, said.append))
    assert found is None
    assert said == ["llm4rs is left out: no label is one token"]


async def test_an_engine_that_is_down_ends_the_run() -> None:
    bench = cast("Bench", Raises(ModelUnavailable("down")))
    with pytest.raises(ModelUnavailable):
        await _row(bench, "zero_shot", Watch(lambda *_: None, lambda _: None))
