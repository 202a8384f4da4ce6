"""Who is in which arm: by share, the same every time, and nothing to do with other experiments."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.demonstrations.variant import ServedVariant
from services.prompts import Mode
from services.recommendations.arms import (
    Arm,
    Experiment,
    ExperimentState,
    NewExperiment,
    arm_at,
    place_of,
)
from services.recommendations.policy import RankingPolicy

USERS = 20_000
IDS = st.text(min_size=1, max_size=128)


def arms(*shares: float) -> tuple[Arm, ...]:
    return tuple(Arm(name=f"arm-{n}", share=share) for n, share in enumerate(shares))


def experiment(name: str, *shares: float) -> Experiment:
    made_at = datetime(2026, 1, 2, tzinfo=UTC)
    return Experiment(name, arms(*shares), ExperimentState.RUNNING, made_at)


@given(IDS, IDS)
def test_a_place_is_from_0_to_1_without_1_and_always_the_same(name: str, user: str) -> None:
    place = place_of(name, user)
    assert 0 <= place < 1
    assert place_of(name, user) == place


def test_a_place_is_the_same_in_every_release() -> None:
    """Were it another, users would change arms in the middle of an experiment."""
    assert place_of("weights", "camper") == 0.8149908948022747
    assert place_of("e", "ünïcode/🦄") == 0.880783802954872


@pytest.mark.parametrize("name", ["weights", "paths", "2026-07"])
@pytest.mark.parametrize("users", ["user-{:04}", "{}", "a long prefix that all share {:08x}"])
def test_places_are_uniform_whatever_ids_look_like(name: str, users: str) -> None:
    bins = Counter(int(20 * place_of(name, users.format(n))) for n in range(USERS))
    expected = USERS / 20
    chi_squared = sum((bins[n] - expected) ** 2 / expected for n in range(20))
    assert chi_squared < 43.8, "the 99.9 % quantile with 19 degrees of freedom"


def test_shares_are_kept() -> None:
    one = experiment("weights", 0.7, 0.2, 0.1)
    seen = Counter(one.arm_of(f"user-{n}").name for n in range(USERS))
    for arm in one.arms:
        error = math.sqrt(arm.share * (1 - arm.share) / USERS)
        assert abs(seen[arm.name] / USERS - arm.share) < 3.5 * error


def test_an_arm_of_one_experiment_says_nothing_about_that_of_another() -> None:
    first, second = experiment("first", 0.5, 0.5), experiment("second", 0.5, 0.5)
    both = Counter((first.arm_of(f"u{n}").name, second.arm_of(f"u{n}").name) for n in range(USERS))
    assert len(both) == 4
    expected = USERS / 4
    assert sum((seen - expected) ** 2 / expected for seen in both.values()) < 16.3


def test_the_border_between_ids_counts() -> None:
    assert place_of("ab", "c") != place_of("a", "bc")


@given(
    st.lists(st.integers(1, 100), min_size=2, max_size=8),
    st.floats(0, 1, exclude_max=True),
)
def test_every_place_is_in_exactly_one_arm(weights: list[int], place: float) -> None:
    given_arms = NewExperiment(arms=arms(*(weight / sum(weights) for weight in weights))).arms
    arm = arm_at(given_arms, place)
    before = math.fsum(one.share for one in given_arms[: given_arms.index(arm)])
    assert before - 1e-9 <= place <= before + arm.share + 1e-9


def test_arms_lie_side_by_side_in_their_order() -> None:
    three = arms(0.25, 0.25, 0.5)
    places = (0.0, 0.249, 0.25, 0.499, 0.5, 1 - 2**-53)
    assert [arm_at(three, place).name[-1] for place in places] == list("001122")


@pytest.mark.parametrize(
    "shares", [(0.5, 0.4), (0.5, 0.6), (0.5, float("nan")), (0.5, -0.5), (1.0,), (0.1,) * 10]
)
def test_shares_that_leave_somebody_out_or_count_somebody_twice_are_refused(
    shares: tuple[float, ...],
) -> None:
    with pytest.raises(ValidationError):
        NewExperiment(arms=arms(*shares))


def test_what_an_arm_does_not_name_stays_as_it_was() -> None:
    policy = RankingPolicy(mode=Mode.GENERATE, prior_weight=0.3, permutations=2)
    (plain, _) = arms(0.5, 0.5)
    assert plain.over(policy) == policy
    other = Arm(name="b", share=0.5, mode=Mode.FIRST_TOKEN, prior_weight=0, paths=2)
    changed = other.over(policy)
    assert (changed.mode, changed.prior_weight, changed.paths) == (Mode.FIRST_TOKEN, 0, 2)
    assert changed.permutations == 2


def test_the_demonstration_served_is_that_of_the_arm() -> None:
    variants = [
        ServedVariant(f"v{path}", path, 1, effect, -1.0, 5, "text", active=path == 2)
        for path, effect in enumerate((0.4, 0.5, 0.9))
    ]

    def served(**settings: object) -> str | None:
        arm = Arm.model_validate({"name": "a", "share": 0.5, **settings})
        variant = arm.over(RankingPolicy()).variant(variants)
        return None if variant is None else variant.variant_id

    assert served() == "v2"
    assert served(demonstrations=False) is None
    assert [served(paths=paths) for paths in (1, 2, 3, 64)] == ["v0", "v1", "v2", "v2"]
    rolled_back = [replace(variant, active=False) for variant in variants]
    assert RankingPolicy(paths=2).variant(rolled_back) is None
