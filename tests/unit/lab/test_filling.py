"""A database to learn on is whole or not there."""

from __future__ import annotations

from pathlib import Path

from lab.learning.filling import copy_whole


def test_a_copy_that_was_broken_off_is_made_anew(tmp_path: Path) -> None:
    base, file = tmp_path / "base.sqlite3", tmp_path / "file.sqlite3"
    base.write_bytes(b"whole")
    file.with_suffix(".half").write_bytes(b"who")
    copy_whole(base, file)
    assert file.read_bytes() == b"whole"
    assert not file.with_suffix(".half").exists()


def test_what_has_been_learned_in_a_copy_stays(tmp_path: Path) -> None:
    base, file = tmp_path / "base.sqlite3", tmp_path / "file.sqlite3"
    base.write_bytes(b"whole")
    file.write_bytes(b"whole, and more")
    copy_whole(base, file)
    assert file.read_bytes() == b"whole, and more"
