"""A report from what was served and answered."""

from __future__ import annotations

import pytest

from services.recommendations.arms import Arm
from services.recommendations.experiment_report import report_of
from services.recommendations.experiments_repository import Answered, Served

ARMS = (Arm(name="a", share=0.5), Arm(name="b", share=0.5))


def test_a_list_without_an_answer_counts_as_0() -> None:
    served = [Served("a", "u1", 3), Served("a", "u2", 1), Served("b", "u3", 2)]
    answered = [
        Answered("a", "u1", 1, 1),
        Answered("a", "u1", None, 1),
        Answered("a", "u2", 3, 1),
        Answered("b", "u3", 12, 1),
    ]
    first, second = report_of(ARMS, served, answered, k=10)
    assert (first.users, first.replies, first.answered, first.hits) == (2, 4, 3, 2)
    assert first.hit_rate is not None
    assert first.effect_d is not None
    assert first.hit_rate.mean == 0.5
    assert first.effect_d.mean == pytest.approx(1.5 / 4)
    assert first.over_first is None
    assert (second.hits, second.answered) == (0, 1), "the twelfth place is no hit at 10"
    assert second.effect_d is not None
    assert second.effect_d.mean == pytest.approx(0.2702 / 2, abs=1e-4)
    assert second.over_first is not None
    assert second.over_first.hit_rate.mean == -0.5
    assert report_of(ARMS, served, answered, k=12)[1].hits == 1


def test_an_arm_that_served_nothing_has_no_rate() -> None:
    first, second = report_of(ARMS, [Served("b", "u", 1)], [], k=10)
    assert (first.replies, first.hit_rate, first.effect_d) == (0, None, None)
    assert second.hit_rate is not None
    assert second.over_first is None
