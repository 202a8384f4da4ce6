"""The rules of m-PDO: what holds of them whatever was judged."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.optimizer.rules import (
    NOTHING,
    BestBy,
    Budget,
    Collapse,
    CollapseRule,
    Cost,
    Gain,
    Judged,
    PathState,
    Quality,
    Standing,
    Step,
    accepts,
    believed,
    chance,
    companion,
    gain,
    held_out_count,
    is_effective,
    most_effective,
    perturbation,
    promising,
    quality,
    seed_of,
    window_average,
)
from services.ranking.effect import effect_d, log_score

ranks = st.integers(1, 128)
scores = st.floats(-50, 0)
places = st.tuples(st.sampled_from(["e1", "e2", "e3"]), st.integers(0, 3))


@st.composite
def judgments(draw: st.DrawFn, least: int = 1) -> list[Judged]:
    keys = draw(st.lists(places, min_size=least, max_size=12, unique=True))
    return [Judged(event, number, draw(ranks), draw(scores)) for event, number in keys]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Judged], list[Judged]]:
    """Two variants on the same events and draws."""
    new = draw(judgments())
    return new, [replace(one, rank=draw(ranks), log_score=draw(scores)) for one in new]


# --- Effect_D and log-score -----------------------------------------------------------------------


@given(ranks)
def test_effect_d_is_one_at_the_top_and_falls_with_every_place(rank: int) -> None:
    assert effect_d(1) == 1
    assert 0 < effect_d(rank + 1) < effect_d(rank) <= 1
    assert effect_d(rank) == pytest.approx(1 / math.log2(rank + 1))


@pytest.mark.parametrize("rank", [0, -1])
def test_there_is_no_place_before_the_first(rank: int) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        effect_d(rank)


logprobs = st.lists(st.floats(-700, 50), min_size=1, max_size=50)


@given(logprobs, st.data())
def test_log_score_is_the_log_of_a_share_whatever_constant_is_added(
    given_scores: list[float], data: st.DataObject
) -> None:
    truth = data.draw(st.integers(0, len(given_scores) - 1))
    found = log_score(given_scores, truth)
    assert found <= 1e-12
    shares = [math.exp(log_score(given_scores, at)) for at in range(len(given_scores))]
    assert math.fsum(shares) == pytest.approx(1)
    shift = data.draw(st.floats(-100, 100))
    shifted = [score + shift for score in given_scores]
    assert log_score(shifted, truth) == pytest.approx(found, abs=1e-9)


@given(logprobs, st.floats(0.01, 20), st.data())
def test_log_score_rises_with_the_truth_and_falls_with_the_others(
    given_scores: list[float], more: float, data: st.DataObject
) -> None:
    truth = data.draw(st.integers(0, len(given_scores) - 1))
    before = log_score(given_scores, truth)
    better = [score + more * (at == truth) for at, score in enumerate(given_scores)]
    assert log_score(better, truth) >= before - 1e-12
    worse = [score + more * (at != truth) for at, score in enumerate(given_scores)]
    assert log_score(worse, truth) <= before + 1e-12


@given(logprobs, st.randoms(use_true_random=False))
def test_log_score_does_not_depend_on_the_order_of_the_others(
    given_scores: list[float], rng: random.Random
) -> None:
    others = given_scores[1:]
    rng.shuffle(others)
    assert log_score([given_scores[0], *others], 0) == log_score(given_scores, 0)


# --- judging --------------------------------------------------------------------------------------


@given(st.integers(3, 1000), st.integers(1, 10))
def test_a_third_of_the_positives_judges_at_most(positives: int, most: int) -> None:
    count = held_out_count(positives, most)
    assert 1 <= count <= most
    assert count <= positives // 3
    assert held_out_count(positives + 1, most) >= count


@pytest.mark.parametrize("positives", [0, 1, 2])
def test_one_event_judges_at_least(positives: int) -> None:
    assert held_out_count(positives) == 1


@given(judgments(), st.randoms(use_true_random=False))
def test_quality_is_a_mean_that_no_order_changes(judged: list[Judged], rng: random.Random) -> None:
    found = quality(judged)
    shuffled = judged[:]
    rng.shuffle(shuffled)
    assert quality(shuffled) == found
    effects = [one.effect_d for one in judged]
    assert min(effects) - 1e-12 <= found.effect_d <= max(effects) + 1e-12
    logs = [one.log_score for one in judged]
    assert min(logs) - 1e-12 <= found.log_score <= max(logs) + 1e-12


def test_nothing_judged_has_no_quality() -> None:
    with pytest.raises(ValueError, match="nothing was judged"):
        quality([])


@given(pairs(), st.randoms(use_true_random=False))
def test_no_order_changes_a_gain_and_turned_round_it_is_a_loss(
    both: tuple[list[Judged], list[Judged]], rng: random.Random
) -> None:
    new, old = both
    found = gain(new, old)
    mixed = new[:]
    rng.shuffle(mixed)
    assert gain(mixed, reversed(old)) == found
    lost = gain(old, new)
    assert (lost.log_score, lost.effect_d) == (-found.log_score, -found.effect_d)
    assert lost.noise == pytest.approx(found.noise)
    assert found.noise >= 0


@given(pairs(), judgments())
def test_a_gain_is_only_of_what_both_were_judged_on(
    both: tuple[list[Judged], list[Judged]], more: list[Judged]
) -> None:
    new, old = both
    known = {(one.event_id, one.draw) for one in old}
    extra = [one for one in more if (one.event_id, one.draw) not in known]
    assert gain([*new, *extra], old) == gain(new, old)
    if extra:
        with pytest.raises(ValueError, match="never judged on the same"):
            gain(extra, old)


@given(judgments(least=2), st.randoms(use_true_random=False))
def test_the_same_ranks_on_other_events_are_no_loss_in_effect_d(
    judged: list[Judged], rng: random.Random
) -> None:
    """Not by a rounding either: that would refuse what is better."""
    mixed = [one.rank for one in judged]
    rng.shuffle(mixed)
    new = [replace(one, rank=rank) for one, rank in zip(judged, mixed, strict=True)]
    assert gain(new, judged).effect_d == 0


def test_a_single_pair_says_nothing_of_its_noise() -> None:
    new, old = Judged("e1", 0, 1, -1.0), Judged("e1", 0, 2, -2.0)
    assert gain([new], [old]) == Gain(1.0, 1 - effect_d(2), 0.0)


# --- accepting and remembering --------------------------------------------------------------------

gains = st.builds(Gain, st.floats(-5, 5), st.floats(-1, 1), st.floats(0, 5))
levels = st.floats(0, 10)


@given(gains, levels, levels)
def test_whoever_is_accepted_is_accepted_by_a_lower_bar(
    found: Gain, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert accepts(found, low) or not accepts(found, high)


@given(gains, levels)
def test_what_is_accepted_is_better_and_costs_no_effect_d(found: Gain, z: float) -> None:
    if accepts(found, z):
        assert found.log_score > 0
        assert found.log_score > z * found.noise
        assert found.effect_d >= 0


@given(judgments(), levels)
def test_nothing_is_accepted_over_itself(judged: list[Judged], z: float) -> None:
    assert not accepts(gain(judged, judged), z)
    assert not promising(gain(judged, judged))


weights = st.floats(0, 100)
expectations = st.builds(Quality, st.floats(-1, 1), st.floats(-5, 5))


@given(gains, levels, weights)
def test_where_nothing_is_expected_beliefs_decide_as_what_was_found(
    found: Gain, z: float, weight: float
) -> None:
    assume(abs(found.log_score - z * found.noise) > 1e-9 and abs(found.log_score) > 1e-9)
    assume(found.effect_d == 0 or abs(found.effect_d) > 1e-9)
    assert accepts(believed(found, NOTHING, weight), z) == accepts(found, z)


@given(gains, expectations, weights)
def test_a_belief_lies_between_what_was_found_and_what_was_expected(
    found: Gain, expected: Quality, weight: float
) -> None:
    belief = believed(found, expected, weight)
    for name in ("log_score", "effect_d"):
        low, high = sorted((getattr(found, name), getattr(expected, name)))
        assert low - 1e-9 <= getattr(belief, name) <= high + 1e-9
    assert belief.noise <= found.noise


@given(gains, expectations, weights, weights)
def test_the_more_an_expectation_weighs_the_nearer_it_is(
    found: Gain, expected: Quality, one: float, other: float
) -> None:
    light, heavy = sorted((one, other))

    def distance(weight: float) -> float:
        return abs(believed(found, expected, weight).log_score - expected.log_score)

    assert distance(heavy) <= distance(light) + 1e-9


@given(pairs())
def test_a_gain_tells_on_how_many_events_it_was_found(
    both: tuple[list[Judged], list[Judged]],
) -> None:
    new, old = both
    assert gain(new, old).events == len({one.event_id for one in new})


@given(pairs(), levels)
def test_only_one_of_two_is_accepted_over_the_other(
    both: tuple[list[Judged], list[Judged]], z: float
) -> None:
    new, old = both
    assert not (accepts(gain(new, old), z) and accepts(gain(old, new), z))


@given(pairs(), st.integers(1, 10))
def test_what_is_remembered_ranked_well_and_beat_zero_shot_on_the_newest_event(
    both: tuple[list[Judged], list[Judged]], best_ranks: int
) -> None:
    new, bare = both
    newest = max(one.event_id for one in new)
    mine = [one for one in new if one.event_id == newest]
    theirs = [one for one in bare if one.event_id == newest]
    found = is_effective(new, bare, newest, best_ranks)
    assert found == (
        quality(mine).effect_d >= effect_d(best_ranks)
        and quality(mine).log_score > quality(theirs).log_score
    )
    assert is_effective(new, bare, newest, best_ranks + 1) or not found
    assert not is_effective(new, bare, "an event that judged nobody", best_ranks)
    assert not is_effective(bare, bare, newest, best_ranks)


# --- paths ----------------------------------------------------------------------------------------

rules = st.sampled_from(CollapseRule)
steps = st.builds(Step, st.none() | st.floats(0, 1), st.floats(-1, 1))
collapses = st.builds(Collapse, st.floats(0, 1), st.floats(-0.5, 0.5), st.integers(1, 6), rules)


def after(walked: Sequence[Step], collapse: Collapse) -> list[PathState]:
    states = itertools.accumulate(
        walked, lambda state, step: state.after(step, collapse), initial=PathState()
    )
    return list(states)


@given(collapses, st.data())
def test_a_path_that_changes_and_improves_never_collapses(
    collapse: Collapse, data: st.DataObject
) -> None:
    assume(collapse.similarity > 0)
    changing = st.none() | st.floats(0, collapse.similarity, exclude_max=True)
    improving = st.floats(collapse.improvement + 1e-6, 2)
    walked = data.draw(st.lists(st.builds(Step, changing, improving), max_size=12))
    assert not any(state.collapsed for state in after(walked, collapse))


@given(collapses, st.data())
def test_a_path_that_neither_changes_nor_improves_collapses_at_the_window(
    collapse: Collapse, data: st.DataObject
) -> None:
    alike = st.floats(collapse.similarity, 1)
    stalled = st.floats(-1, collapse.improvement)
    walked = data.draw(st.lists(st.builds(Step, alike, stalled), max_size=12))
    # A mean of what is at the bar may be above it by a rounding.
    assume(all(step.improvement < collapse.improvement - 1e-9 for step in walked))
    assert [state.collapsed for state in after(walked, collapse)] == [
        count >= collapse.window for count in range(len(walked) + 1)
    ]


@given(collapses, st.lists(steps, max_size=12))
def test_only_a_windows_rounds_count_and_are_kept(collapse: Collapse, walked: list[Step]) -> None:
    state = after(walked, collapse)[-1]
    assert state.rounds == len(walked)
    assert state.steps == tuple(walked[-collapse.window :])
    assert state.collapsed == (bool(walked) and collapse.of(walked))


@given(collapses, st.lists(steps, max_size=12))
def test_what_collapses_by_both_signs_collapses_by_either(
    collapse: Collapse, walked: list[Step]
) -> None:
    both = replace(collapse, rule=CollapseRule.ALL).of(walked)
    either = replace(collapse, rule=CollapseRule.ANY).of(walked)
    assert either or not both


@given(collapses, st.lists(steps, max_size=12), st.floats(0, 1), st.floats(0, 0.5))
def test_a_looser_bar_collapses_no_less(
    collapse: Collapse, walked: list[Step], lower: float, more: float
) -> None:
    looser = replace(
        collapse,
        similarity=collapse.similarity * lower,
        improvement=collapse.improvement + more,
    )
    assert looser.of(walked) or not collapse.of(walked)


@given(collapses, st.lists(steps, min_size=1, max_size=12))
def test_a_round_in_which_nothing_was_written_is_no_repetition(
    collapse: Collapse, walked: list[Step]
) -> None:
    silent = [*walked[:-1], replace(walked[-1], similarity=None)]
    improving = replace(collapse, improvement=-math.inf)
    assert not improving.of(silent)


@given(st.lists(st.floats(-1, 1), min_size=1), st.randoms(use_true_random=False))
def test_a_window_average_does_not_depend_on_the_order(
    values: list[float], rng: random.Random
) -> None:
    mixed = values[:]
    rng.shuffle(mixed)
    assert window_average(mixed) == window_average(values)


# --- helping each other ---------------------------------------------------------------------------

pools = st.dictionaries(
    st.integers(0, 5), st.lists(st.text("abcdef", min_size=1, max_size=3), max_size=4), max_size=6
)
newest_texts = st.dictionaries(st.integers(0, 5), st.text("uvwxyz", min_size=1, max_size=3))
standings = st.lists(
    st.builds(
        Standing,
        st.text("abc", min_size=1, max_size=2),
        st.integers(0, 5),
        st.builds(Quality, st.sampled_from([0.5, 1.0]), st.sampled_from([-2.0, -1.0])),
        st.integers(10, 12),
    ),
    unique_by=lambda one: one.path,
    max_size=6,
)
keys = st.tuples(st.integers(0, 99), st.text(max_size=5), st.integers(0, 9), st.integers(0, 9))


@given(st.integers(0, 5), pools, newest_texts, keys)
def test_a_perturbation_is_another_paths_and_an_effective_one_if_there_is_any(
    path: int,
    effective: dict[int, list[str]],
    latest: dict[int, str],
    key: tuple[int, str, int, int],
) -> None:
    chosen = perturbation(path, effective, latest, chance(*key, "perturbation"))
    best = [one for other, ids in effective.items() if other != path for one in ids]
    last = [one for other, one in latest.items() if other != path]
    pool = best or last
    assert chosen in pool if pool else chosen is None


@given(st.integers(0, 5), pools, newest_texts, keys, st.randoms(use_true_random=False))
def test_the_same_key_gives_the_same_perturbation_in_whatever_order_the_others_come(
    path: int,
    effective: dict[int, list[str]],
    latest: dict[int, str],
    key: tuple[int, str, int, int],
    rng: random.Random,
) -> None:
    mixed = {at: rng.sample(ids, len(ids)) for at, ids in reversed(effective.items())}
    turned = dict(reversed(latest.items()))
    assert perturbation(path, effective, latest, chance(*key, "perturbation")) == perturbation(
        path, mixed, turned, chance(*key, "perturbation")
    )


def test_every_demonstration_of_the_others_has_its_turn() -> None:
    effective = {0: ["mine"], 1: ["a", "b"], 2: ["c"]}
    chosen = {
        perturbation(0, effective, {}, chance(seed, "ada", 0, 1, "perturbation"))
        for seed in range(100)
    }
    assert chosen == {"a", "b", "c"}


@given(st.integers(0, 5), standings, newest_texts)
def test_a_companion_is_another_path_the_best_that_stands_else_one_that_has_written(
    path: int, known: list[Standing], latest: dict[int, str]
) -> None:
    chosen = companion(path, known, latest)
    others = [one for one in known if one.path != path]
    best = most_effective(others)
    if best is not None:
        assert chosen == best.path
    else:
        written = set(latest) - {path}
        assert chosen in written if written else chosen is None


def test_paths_without_a_best_are_shown_beside_the_next_in_turn() -> None:
    assert [companion(path, [], (0, 1, 2)) for path in range(3)] == [1, 2, 0]


@given(keys, keys)
def test_chance_is_by_whom_it_is_for(
    one: tuple[int, str, int, int], other: tuple[int, str, int, int]
) -> None:
    assert 0 <= seed_of(*one, "purpose") < 2**48
    assert chance(*one, "purpose").random() == chance(*one, "purpose").random()
    same = seed_of(*one, "purpose") == seed_of(*other, "purpose")
    assert same == (one == other)
    assert seed_of(*one, "purpose") != seed_of(*one, "another")


@given(standings, st.sampled_from(BestBy), st.randoms(use_true_random=False))
def test_there_is_one_best_of_paths_in_whatever_order_they_come(
    known: list[Standing], by: BestBy, rng: random.Random
) -> None:
    best = most_effective(known, by)
    mixed = known[:]
    rng.shuffle(mixed)
    assert most_effective(mixed, by) == best
    assert (best is None) == (not known)
    if best is None:
        return

    def worth(one: Standing) -> tuple[float, float, int, int]:
        found = (one.gained.effect_d, one.gained.log_score)
        return (*(found if by is BestBy.EFFECT_D else found[::-1]), -one.tokens, -one.path)

    assert all(worth(best) >= worth(one) for one in known)
    others = [one for one in known if one != best]
    assert most_effective([*others, best], by) == best


# --- what it costs --------------------------------------------------------------------------------

counts = st.integers(0, 1000)
costs = st.builds(Cost, counts, counts)
limits = st.none() | counts


@given(costs, costs, costs)
def test_costs_add_up(one: Cost, other: Cost, third: Cost) -> None:
    assert one + other == other + one
    assert (one + other) + third == one + (other + third)
    assert one + Cost() == one


@given(st.builds(Budget, limits, limits), costs, costs, costs)
def test_a_budget_allows_what_stays_within_both_its_limits(
    budget: Budget, spent: Cost, reserved: Cost, wanted: Cost
) -> None:
    total = spent + reserved + wanted
    within = (budget.calls is None or total.calls <= budget.calls) and (
        budget.tokens is None or total.tokens <= budget.tokens
    )
    assert budget.allows(spent, reserved, wanted) == within
    assert Budget().allows(spent, reserved, wanted)


@given(
    st.builds(Budget, limits, limits),
    st.lists(st.tuples(costs, st.floats(0, 1)), max_size=20),
)
def test_who_asks_before_every_call_never_goes_over(
    budget: Budget, calls: list[tuple[Cost, float]]
) -> None:
    """What calls cost in the end is what was asked for, or less."""
    spent = Cost()
    for wanted, share in calls:
        if budget.allows(spent, Cost(), wanted):
            spent += Cost(int(wanted.calls * share), int(wanted.tokens * share))
    assert budget.calls is None or spent.calls <= budget.calls
    assert budget.tokens is None or spent.tokens <= budget.tokens
