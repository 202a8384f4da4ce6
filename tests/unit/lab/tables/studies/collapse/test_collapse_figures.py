from __future__ import annotations

from lab.tables.studies.collapse.figures import collapse_figures, collapse_markdown, of_landscapes
from lab.tables.studies.collapse.trials import trials
from services.optimizer.plan import Plan
from tests.unit.lab.tables.studies.collapse.planted import planted

COLLAPSE = Plan().collapse
ROUNDS = 6
SLOPE = planted((3, 3, 3), lambda place: float(sum(place)))
TRAPS = planted((3, 3, 3), lambda place: float((place == (0, 0, 0)) + 2 * (place == (2, 2, 2))))
LANDS = [SLOPE, TRAPS]
FOUND = [trials(land, ROUNDS, 5, [COLLAPSE]) for land in LANDS]


def test_what_there_is_to_get_stuck_in_is_counted() -> None:
    slope = of_landscapes([SLOPE])
    assert (slope["local_optima"], slope["users_with_local_optima"]) == (0, 0)
    both = of_landscapes(LANDS)
    assert both["places"] == 27
    assert both["users_with_local_optima"] == 0.5
    # Far from both tops nothing is better than anything else.
    assert both["local_optima"] == (len(TRAPS.optima) - 1) / 2 > 1


def test_figures_are_means_over_users_and_comparisons_are_paired() -> None:
    figures, detail = collapse_figures(LANDS, FOUND, ROUNDS, [1])
    by_user = [one["pdo3_window1"].at_optimum for one in FOUND]
    assert figures["pdo3_window1.at_optimum"] == sum(by_user) / 2
    assert 0 < figures["p.pdo3_window1_vs_pdo3_unperturbed.regret"] <= 1
    row = next(one for one in detail["compared"] if one["other"] == "random_as_many_as_pdo3")
    theirs = [one["random_as_many_as_pdo3"].at_optimum for one in FOUND]
    expected = sum(by_user) / 2 - sum(theirs) / 2
    assert abs(row["at_optimum"]["difference"] - expected) < 1e-9
    assert {one["texts"] for one in detail["arms"]} == {6, 12, 18, 24}


def test_the_table_names_every_arm_once() -> None:
    _, detail = collapse_figures(LANDS, FOUND, ROUNDS, [1])
    table = collapse_markdown(detail)
    arms = table.split("| | against |")[0]
    for arm in FOUND[0]:
        assert arms.count(f"| {arm} |") == 1
