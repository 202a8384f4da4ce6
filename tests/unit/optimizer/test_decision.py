"""What a round comes to, from what was judged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.demonstrations.models import StoredDemonstration, StoredVariant
from services.demonstrations.similarity import alike
from services.optimizer.decision import Decision, Found, decide
from services.optimizer.learning_repository import KnownVariant
from services.optimizer.plan import Plan
from services.optimizer.rules import BestBy, Expected, Judged, PathState, Quality, Step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(paths=2, held_out=1, draws=4)


def variant(
    name: str, path: int, *, incumbent: bool = False, effective: bool = False, pair: bool = False
) -> KnownVariant:
    text = StoredDemonstration(demonstration_id=f"d-{name}", text=f"text of {name}", made_at=NOW)
    row = StoredVariant(
        variant_id=name, path=path, round_number=1, current_id=f"d-{name}", incumbent=incumbent,
        effective=effective, tokens=10, effect_d=0.5, log_score=-2.0,
    )  # fmt: skip
    return KnownVariant(row, text, text if pair else None)


ZERO_SHOT = KnownVariant(
    StoredVariant(variant_id="bare", path=-1, round_number=0, tokens=0), None, None
)


def judged(rank: int, *log_scores: float) -> list[Judged]:
    return [Judged("newest", draw, rank, score) for draw, score in enumerate(log_scores)]


BARE = judged(5, -3.0, -3.1, -2.9, -3.0)
BETTER = judged(2, -1.0, -1.2, -0.9, -1.1)
BEST = judged(1, -0.2, -0.3, -0.1, -0.2)
WORSE = judged(9, -4.0, -4.2, -3.9, -4.1)


def decided(
    new: dict[int, KnownVariant],
    scores: dict[str, list[Judged]],
    *,
    incumbents: dict[int, KnownVariant] | None = None,
    paths: dict[int, PathState] | None = None,
    last_texts: dict[int, str] | None = None,
    turned_down: dict[int, list[KnownVariant]] | None = None,
    plan: Plan = PLAN,
) -> Decision:
    found = Found(
        ZERO_SHOT,
        incumbents or {},
        new,
        [one for one in (incumbents or {}).values() if one.row.effective],
        {"bare": BARE, **scores},
        "newest",
        paths or {},
        last_texts or {},
        plan.expected or Expected(),
        plan.prior_events,
        plan.z,
        turned_down or {},
    )
    similar = {path: alike(*texts) for path, texts in found.repetitions().items()}
    return decide(plan, found, {}, similar)


def served(decision: Decision) -> str | None:
    return decision.active_id


def accepted(decision: Decision) -> set[str]:
    return {one.variant_id for one in decision.judgments if one.accepted}


def test_what_beats_zero_shot_is_accepted_remembered_and_served() -> None:
    decision = decided({0: variant("a", 0)}, {"a": BETTER})
    assert accepted(decision) == {"a"}
    assert served(decision) == "a"
    (judgment,) = decision.judgments
    assert judgment.incumbent
    assert judgment.effective


def test_what_is_worse_than_zero_shot_is_never_served() -> None:
    decision = decided({0: variant("a", 0)}, {"a": WORSE})
    assert accepted(decision) == set()
    assert served(decision) is None


def test_a_gain_within_the_noise_is_none() -> None:
    lucky = judged(5, -1.0, -5.0, -1.5, -3.9)  # better on the average, by less than it scatters
    assert accepted(decided({0: variant("a", 0)}, {"a": lucky})) == set()


def test_a_better_log_score_at_the_cost_of_effect_d_is_not_accepted() -> None:
    assert (
        accepted(decided({0: variant("a", 0)}, {"a": judged(6, -1.0, -1.2, -0.9, -1.1)})) == set()
    )


def test_the_best_of_the_paths_is_served() -> None:
    decision = decided({0: variant("a", 0), 1: variant("b", 1)}, {"a": BETTER, "b": BEST})
    assert accepted(decision) == {"a", "b"}
    assert served(decision) == "b"


def test_the_best_is_by_log_score_unless_the_run_wants_effect_d() -> None:
    sure, high = judged(3, -0.5, -0.6, -0.4, -0.5), judged(2, -1.0, -1.2, -0.9, -1.1)
    new = {0: variant("sure", 0), 1: variant("high", 1)}
    assert served(decided(new, {"sure": sure, "high": high})) == "sure"
    by_effect_d = PLAN.model_copy(update={"best_by": BestBy.EFFECT_D})
    assert served(decided(new, {"sure": sure, "high": high}, plan=by_effect_d)) == "high"


PAIRS_ARE_BETTER = PLAN.model_copy(
    update={"expected": Expected(single=Quality(0.1, 0.5), pair=Quality(0.3, 1.5))}
)


def test_what_is_known_of_all_pairs_weighs_more_than_one_event_of_one_user() -> None:
    single = variant("single", 0, incumbent=True)
    new = {0: variant("pair", 0, pair=True)}
    scores = {"single": BEST, "pair": BETTER}
    unknown = decided(new, scores, incumbents={0: single})
    assert served(unknown) == "single"
    decision = decided(new, scores, incumbents={0: single}, plan=PAIRS_ARE_BETTER)
    assert served(decision) == "pair"
    assert decision.paths[0].steps[-1].improvement < 0, "the path has not improved by it"
    alone = PAIRS_ARE_BETTER.model_copy(update={"prior_events": 0.0})
    assert served(decided(new, scores, incumbents={0: single}, plan=alone)) == "single"


def test_however_much_is_expected_a_text_that_does_great_harm_is_not_served() -> None:
    harmful = judged(50, *[-12.0 - draw / 10 for draw in range(4)])
    new = {0: variant("a", 0)}
    assert served(decided(new, {"a": WORSE}, plan=PAIRS_ARE_BETTER)) == "a"
    assert served(decided(new, {"a": harmful}, plan=PAIRS_ARE_BETTER)) is None


SINGLES_GAIN = PLAN.model_copy(
    update={"expected": Expected(single=Quality(0.1, 0.5)), "prior_events": 20.0}
)


def test_what_was_turned_down_is_heard_again_when_others_gains_speak_for_it() -> None:
    earlier = {0: [variant("unlucky", 0), variant("less", 0)], 1: [variant("other", 1)]}
    less = judged(9, -4.3, -4.4, -4.2, -4.3)
    scores = {"unlucky": WORSE, "less": less, "other": less}
    assert served(decided({}, scores, turned_down=earlier)) is None
    decision = decided({}, scores, turned_down=earlier, plan=SINGLES_GAIN)
    assert served(decision) == "unlucky"
    assert accepted(decision) == {"unlucky", "other"}
    kept = {one.variant_id for one in decision.judgments if one.incumbent}
    assert kept == {"unlucky", "other"}, "one of each path"


def test_what_was_turned_down_within_the_noise_is_no_better_for_having_waited() -> None:
    within = judged(4, -2.0, -4.6, -1.9, -3.4)
    by_chance = Plan(paths=2, z=0.5)
    assert not accepted(decided({0: variant("a", 0)}, {"a": within}, plan=by_chance))
    earlier = {0: [variant("a", 0)]}
    assert not accepted(decided({}, {"a": within}, turned_down=earlier, plan=by_chance))


def test_what_is_heard_again_gives_way_to_an_incumbent_and_to_what_is_better() -> None:
    earlier = {0: [variant("earlier", 0)]}
    scores = {"earlier": BETTER, "old": BETTER, "new": BEST}
    old = {0: variant("old", 0, incumbent=True)}
    decision = decided({}, scores, incumbents=old, turned_down=earlier, plan=SINGLES_GAIN)
    assert served(decision) == "old"
    new = {0: variant("new", 0)}
    decision = decided(new, scores, turned_down=earlier, plan=SINGLES_GAIN)
    assert served(decision) == "new"


def test_what_is_served_is_told_as_it_was_found_not_as_it_is_believed() -> None:
    decision = decided({0: variant("a", 0)}, {"a": WORSE}, plan=PAIRS_ARE_BETTER)
    assert decision.outcome["active"]["log_score"] == pytest.approx(-4.05)
    assert decision.outcome["paths"][0]["gain"] == pytest.approx(-1.05)


def test_a_pair_must_be_better_than_a_pair_and_a_single_text_better_than_either() -> None:
    old = variant("old", 0, incumbent=True, pair=True)
    for new in (variant("a", 0, pair=True), variant("a", 0)):
        decision = decided({0: new}, {"old": BEST, "a": BETTER}, incumbents={0: old})
        assert served(decision) == "old"


def test_an_incumbent_stays_until_something_is_better() -> None:
    old = variant("old", 0, incumbent=True, effective=True)
    decision = decided({0: variant("a", 0)}, {"old": BEST, "a": BETTER}, incumbents={0: old})
    assert served(decision) == "old"
    assert "a" not in accepted(decision)


def test_an_incumbent_that_newer_events_put_behind_zero_shot_is_not_served() -> None:
    old = variant("old", 0, incumbent=True)
    assert served(decided({}, {"old": WORSE}, incumbents={0: old})) is None


def test_what_was_dropped_after_the_first_draw_is_not_accepted() -> None:
    decision = decided({0: variant("a", 0)}, {"a": BETTER[:1]})
    assert accepted(decision) == set()
    assert decision.outcome["paths"][0]["screened_out"]


def test_a_path_that_repeats_itself_and_stalls_has_collapsed() -> None:
    same = Step(0.99, 0.0)
    decision = decided(
        {0: variant("a", 0)},
        {"a": WORSE},
        paths={0: PathState(1, collapsed=False, steps=(same,))},
        last_texts={0: "text of a"},
    )
    assert decision.paths[0].collapsed
    assert decision.outcome["paths"][0]["similarity"] == 1.0


def test_a_path_without_a_text_is_told_and_keeps_its_incumbent() -> None:
    old = variant("old", 0, incumbent=True)
    decision = decided({}, {"old": BETTER}, incumbents={0: old})
    assert served(decision) == "old"
    assert decision.outcome["paths"][0]["written"] is False
