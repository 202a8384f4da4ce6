from __future__ import annotations

from pathlib import Path

from lab.lines import keep_line, read_lines


def test_a_torn_line_is_left_out_and_takes_no_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    keep_line(file, {"n": 1})
    with file.open("a") as lines:
        lines.write('{"n": 2, "te')
    assert list(read_lines(file)) == [{"n": 1}]
    keep_line(file, {"n": 3})
    assert list(read_lines(file)) == [{"n": 1}, {"n": 3}]


def test_what_is_no_row_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("3\n[1]\n\n")
    assert list(read_lines(file)) == []
    assert list(read_lines(tmp_path / "none.jsonl")) == []
