"""The ranks that lie beside the results are those that the results say."""

from __future__ import annotations

from pathlib import Path

from lab.tables.kept import all_kept
from lab.tables.markdown import table2
from lab.tables.standing import figures_of

DOCS = Path(__file__).parents[4] / "docs"
ROWS = DOCS / "kept" / "rows"


def test_table_2_is_what_the_published_ranks_of_users_come_to() -> None:
    kept = [row for split in ROWS.iterdir() for row in all_kept(ROWS, split.name)]
    kept.sort(key=lambda row: row.candidates, reverse=True)
    assert len({row.key for row in kept}) == len(kept)
    _, detail = figures_of(kept)
    assert table2(detail).strip() in (DOCS / "results.md").read_text()
