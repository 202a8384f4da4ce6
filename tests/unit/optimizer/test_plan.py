"""What the settings of a run promise."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.demonstrations.generation import Part, ViewKind
from services.demonstrations.likeness import SimilarityBy
from services.errors import InvalidRequest
from services.llm.port import LabelSource
from services.optimizer.asking import Asking, NewRun, judging_as_lists
from services.optimizer.plan import Plan
from services.prompts import Mode
from services.recommendations.policy import RankingPolicy

BY_MEANING = Plan(similarity_by=SimilarityBy.EMBEDDINGS, similarity=0.7)


def test_a_measure_of_its_own_needs_a_tau_of_its_own() -> None:
    with pytest.raises(ValidationError, match="calibrate-similarity --backend embeddings"):
        Plan(similarity_by=SimilarityBy.EMBEDDINGS)
    assert BY_MEANING.collapse.similarity == 0.7


@pytest.mark.parametrize("plan", [Plan(), BY_MEANING])
def test_a_plan_is_read_back_as_it_was_stored(plan: Plan) -> None:
    assert Plan.of_row(plan.as_row()) == plan


async def test_a_run_by_embeddings_is_refused_where_there_is_no_server_of_them() -> None:
    unused: Any = None
    asking = Asking(unused, unused, unused, unused, RankingPolicy())
    with pytest.raises(InvalidRequest, match="LRGD_EMBEDDINGS_URL"):
        await asking.start(NewRun(users=("ada",), settings=BY_MEANING))


def test_a_run_judges_as_lists_are_made_but_for_what_it_names() -> None:
    lists = RankingPolicy(permutations=3, calibrated=True, step_size=0.4)
    told = judging_as_lists(Plan(paths=2), lists)
    assert (told.paths, told.method) == (2, lists.method(None, LabelSource.EXACT))
    assert judging_as_lists(Plan(step_size=1.0), lists).step_size == 1
    assert judging_as_lists(Plan(), RankingPolicy()) == Plan()


def test_a_mode_and_its_calibration_are_taken_together() -> None:
    by_title = RankingPolicy(mode=Mode.LIKELIHOOD)
    assert judging_as_lists(Plan(), by_title).mode is Mode.LIKELIHOOD
    assert judging_as_lists(Plan(calibrated=True), by_title).mode is Mode.FIRST_TOKEN
    calibrated = RankingPolicy(calibrated=True)
    assert judging_as_lists(Plan(), calibrated).calibrated
    assert not judging_as_lists(Plan(mode=Mode.LIKELIHOOD), calibrated).calibrated


def test_paths_are_shown_what_no_prompt_shows_anyway() -> None:
    plan = Plan(held_out=3)
    shown = plan.method.form.limits.history_items
    assert {plan.view(path).skipped for path in range(5)} == {shown - 3}
    assert len({plan.view(path) for path in range(3)}) == 3


def test_what_others_chose_is_looked_up_only_for_a_path_that_is_shown_it() -> None:
    assert Plan(paths=3).views_neighbors
    assert not Plan(paths=2).views_neighbors
    assert not Plan(paths=3, views=False).views_neighbors


def test_a_perturbed_path_sees_one_half_and_the_other_one_the_next_time() -> None:
    plan = Plan()
    seen = [plan.perturbed_view(2, number) for number in (3, 4)]
    assert {one.part for one in seen} == {Part.OLDER, Part.NEWER}
    assert {one.kind for one in seen} == {ViewKind.TITLES}, "counts would tell of the whole"
