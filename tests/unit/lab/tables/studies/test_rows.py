"""Rows survive whatever ends a study."""

from __future__ import annotations

from pathlib import Path

from lab.tables.studies.rows import Rows


def test_a_torn_line_is_left_out_and_the_next_is_not_lost_with_it(tmp_path: Path) -> None:
    file = tmp_path / "of" / "rows.jsonl"
    kept = Rows(file)
    kept.add({"user": "a"})
    with file.open("a") as lines:
        lines.write('{"user": "b", "te')
    again = Rows(file)
    assert again.known == [{"user": "a"}]
    again.add({"user": "c"})
    assert Rows(file).known == [{"user": "a"}, {"user": "c"}] == again.known
