"""Table 3: who is first, and nothing of what lies behind."""

from __future__ import annotations

import pytest

from lab.tables.markdown import table2
from lab.tables.standing import FIRST_PLACE, figures_of
from tests.unit.lab.tables.test_standing import row

# By nDCG@10 `steady` rows are ahead, by first places `bold` ones.
STEADY, BOLD = [2] * 40, [1] * 20 + [50] * 20
ROWS = [
    row("popularity", [3] * 40),
    row("sasrec", STEADY),
    row("zero_shot", BOLD),
    row("lrgd", [1] * 30 + [50] * 10),
    row("lrgd_fused", [1] * 30 + [2] * 10),
]


def test_the_best_other_row_is_the_one_that_is_first_most_often() -> None:
    told = {}
    for compared in ("ndcg@10", FIRST_PLACE):
        _, detail = figures_of(ROWS[:3], compared=compared)
        by_row = {one["row"]: one for one in detail["candidates"]["uniform"]["rows"]}
        told[compared] = by_row["popularity"]["best_other"]
    assert told["ndcg@10"]["row"] == "sasrec"
    assert told[FIRST_PLACE]["row"] == "zero_shot"
    assert told[FIRST_PLACE]["difference"] == pytest.approx(-0.5)
    assert told[FIRST_PLACE]["p"] < 0.01


def test_figures_are_of_the_first_place_and_effect_d() -> None:
    figures, detail = figures_of(ROWS, compared=FIRST_PLACE)
    assert figures["uniform.lrgd.ndcg@1"] == pytest.approx(0.75)
    assert figures["uniform.lrgd.users"] == 40
    assert 0.75 < figures["uniform.lrgd.effect_d"] < figures["uniform.lrgd_fused.effect_d"]
    assert not any("@10" in name for name in figures)
    # Level with the best other row: no gain, and nothing to be sure of.
    assert figures["uniform.gain.ndcg@1"] == 0
    assert figures["uniform.p.gain"] == 1
    bold = next(one for one in detail["candidates"]["uniform"]["rows"] if one["row"] == "zero_shot")
    low, high = bold["interval"]
    assert low < bold["ndcg@1"] == 0.5 < high


def test_its_columns_are_the_first_place_with_its_interval_and_effect_d() -> None:
    _, detail = figures_of(ROWS, compared=FIRST_PLACE)
    heading = table2(detail, FIRST_PLACE).splitlines()[2]
    assert heading.startswith("| row | nDCG@1 | 95 % | Effect_D | users |")
    assert "@10" not in heading
