"""Figure 9 from rounds that are planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.tables.studies.rounds.figures import (
    PERTURBED,
    UNPERTURBED,
    RoundOfUser,
    Walked,
    fig9_figures,
    fig9_markdown,
    walked_of,
)
from lab.tables.studies.rounds.results import Put, Results, RoundTested

USERS = [f"u{number}" for number in range(10)]
ROUNDS = 4


def rounds(gain: float, similarity: float, perturbed: int) -> list[RoundOfUser]:
    """Users differ by much; what one gains is the same for all, and comes in the last half."""
    return [
        RoundOfUser(
            user,
            number,
            Walked(None if number == 1 else similarity, perturbed, 1),
            served=0.05 * place + (gain if number > ROUNDS // 2 else 0.0),
            written=0.05 * place,
        )
        for place, user in enumerate(USERS)
        for number in range(1, ROUNDS + 1)
    ]


ARMS = {PERTURBED: rounds(0.1, 0.7, 2), UNPERTURBED: rounds(0.0, 0.9, 0)}
BARE = dict.fromkeys(USERS, 0.1)


def test_each_round_has_its_mean_and_standard_error_over_users() -> None:
    _, detail = fig9_figures(ARMS, BARE)
    first, *_, last = detail["rounds"]
    mean, error = first[PERTURBED]["served"]
    assert mean == pytest.approx(0.225)
    assert error == pytest.approx(0.1514 / 10**0.5, abs=1e-4)
    assert first[PERTURBED]["similarity"] is None
    assert last[PERTURBED]["served"][0] == pytest.approx(0.325)
    assert last[PERTURBED]["perturbed"] == 20
    assert [one["round"] for one in detail["rounds"]] == [1, 2, 3, 4]


def test_arms_are_compared_user_by_user_in_the_last_half() -> None:
    figures, _ = fig9_figures(ARMS, BARE)
    # The users differ by far more than the arms, and each gains.
    assert figures["difference.ndcg@10"] == pytest.approx(0.1)
    assert figures["p.ndcg@10"] < 0.001
    assert figures["difference.written_ndcg@10"] == pytest.approx(0.0)
    assert figures["p.written_ndcg@10"] == 1.0
    assert figures["difference.similarity"] == pytest.approx(-0.2)
    assert figures["perturbed.similarity.last"] == pytest.approx(0.7)
    assert figures["perturbed.perturbations"] == 80
    assert figures["unperturbed.perturbations"] == 0
    assert figures["unperturbed.collapses"] == 40
    assert figures["zero_shot.ndcg@10"] == pytest.approx(0.1)


def test_the_table_has_a_line_for_each_round() -> None:
    _, detail = fig9_figures(ARMS, BARE)
    lines = fig9_markdown(detail).splitlines()
    assert sum(line.startswith(("| 1 |", "| 2 |", "| 3 |", "| 4 |")) for line in lines) == ROUNDS
    assert any("0.325 ± 0.048 (0.225)" in line for line in lines)


def test_a_round_is_read_as_the_ledger_tells_it() -> None:
    paths: list[dict[str, Any]] = [
        {"similarity": 0.8, "perturbed": True, "collapsed": True},
        {"similarity": None, "perturbed": None, "collapsed": False},
        {"similarity": 0.6, "perturbed": False, "collapsed": True},
    ]
    found = walked_of(paths)
    assert found.similarity == pytest.approx(0.7)
    assert (found.perturbed, found.collapsed) == (1, 2)
    assert walked_of(paths[1:2]).similarity is None


def test_results_are_kept_and_a_torn_one_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "tested.jsonl"
    kept = Results(file)
    row = RoundTested("pdo3", 1, "ada", Put("t", (1, 2)), (Put("t", (1, 2)), Put("v", (9, 9))))
    kept.keep(row)
    kept.keep(RoundTested("pdo3", 2, "ada", Put("v", (9, 9))))
    content = file.read_text()
    file.write_text(content[:-20])
    again = Results(file)
    assert again.rows == {("pdo3", 1, "ada"): row}
    assert again.has("pdo3", 1, ["ada"])
    assert not again.has("pdo3", 2, ["ada"])
    assert again.found("ada", "v") == Put("v", (9, 9))
    assert again.found("bob", "v") is None
