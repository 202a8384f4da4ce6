"""Rates and correlations of planted lists."""

from __future__ import annotations

from typing import Any

import pytest

from lab.tables.studies.hallucination.figures import figures_of, markdown
from lab.tables.studies.hallucination.study import CONDITIONS, rate_of


def listed(user: int, text: int, out: int, *, condition: str = "free") -> dict[str, Any]:
    """The more is out of the list, the lower Effect_D."""
    return {
        "user": f"u{user}", "set": "generated" if text else "none", "text": text, "draw": 0,
        "condition": condition, "scored_effect_d": 0.5, "reading": "ok", "asked": 10,
        "named": 10 - out, "out_of_list": out, "repeated": 0, "missing": out,
        "effect_d": 1 - out / 20, "loosely_named": 10, "loose_effect_d": 1.0,
    }  # fmt: skip


def test_leaving_goes_with_a_lower_effect_where_it_was_planted() -> None:
    rows = [listed(user, text, (user + text) % 4) for user in range(12) for text in range(3)]
    figures, detail = figures_of(rows)
    assert figures["free.correlation.effect_d"] < -0.9
    # The other measure is the same everywhere, so that nothing can be said.
    assert "free.correlation.scored_effect_d" not in figures
    assert figures["free.out_of_list"] == pytest.approx(0.15)
    assert figures["free.loose_effect_d"] > figures["free.effect_d"]
    assert len(detail["points"]["free"]) == len(rows)


def test_lists_that_never_leave_are_said_to_and_correlate_with_nothing() -> None:
    rows = [listed(user, text, 0) for user in range(5) for text in range(2)]
    figures, detail = figures_of(rows)
    assert figures["free.leaves"] == 0
    assert not detail["correlated"]
    assert "No list leaves the candidates under: free." in markdown(figures, detail)


def test_an_answer_without_entries_has_nothing_out_of_the_list() -> None:
    assert rate_of({"named": 0, "repeated": 0, "out_of_list": 0}) == 0


def test_only_one_condition_keeps_to_a_structure_and_one_shows_no_candidates() -> None:
    assert [one.name for one in CONDITIONS if one.constrained] == ["structured"]
    assert [one.name for one in CONDITIONS if not one.shown] == ["unlisted"]
    assert all(one.method.form.regularization is None for one in CONDITIONS if not one.regularized)
