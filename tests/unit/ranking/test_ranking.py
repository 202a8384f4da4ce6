from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.port import EngineFingerprint
from services.prompts import Mode, PromptFormat, PromptRequest, TemplateName, compose
from services.ranking import Candidate, EvaluationFingerprint, Method, RankingRequest, fused
from services.ranking.fusion import standardized
from services.ranking.ranking import in_order
from services.ranking.written import Reading, list_pattern, read_list

SCORES = st.lists(st.floats(-50, 50), min_size=1, max_size=20)
PROMPT = compose(
    PromptFormat(mode=Mode.GENERATE),
    PromptRequest(candidates=("Red Tent", "Blue Tent", "Red Tent", "Kettle"), order=(3, 0, 1, 2)),
    len,
)


@given(SCORES, st.randoms())
def test_the_order_is_of_scores_and_ids_and_not_of_places(
    scores: list[float], draws: object
) -> None:
    ids = [f"item-{n}" for n in range(len(scores))]
    best_first = [ids[place] for place in in_order(ids, scores)]
    shuffled = list(range(len(ids)))
    draws.shuffle(shuffled)  # type: ignore[attr-defined]
    again = in_order([ids[n] for n in shuffled], [scores[n] for n in shuffled])
    assert [ids[shuffled[place]] for place in again] == best_first


@pytest.mark.parametrize("count", [0, 129])
def test_so_many_candidates_cannot_be_ranked(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 128"):
        RankingRequest((), (Candidate("a", "A"),) * count)


@pytest.mark.parametrize(
    ("text", "listed", "reading"),
    [
        (" SR CV LL MO", (3, 0, 1, 2), Reading.OK),
        (" MO, LL\nSR; CV", (2, 1, 3, 0), Reading.OK),
        (" SR SR CV LL", (3, 0, 1), Reading.REPEATED),
        (" SR XX CV", (3, 0), Reading.OUT_OF_LIST),
        (" SR", (3,), Reading.INCOMPLETE),
        (" sorry, no", (), Reading.MALFORMED),
        ("", (), Reading.MALFORMED),
        ("1. kettle\n2. Blue Tent\n3. Red Tent\n4. Red Tent", (3, 1, 0, 2), Reading.OK),
        ("- Blue Tent\n- Green Tent", (1,), Reading.OUT_OF_LIST),
        ("A kettle is best", (), Reading.MALFORMED),  # part of a title is no title
    ],
)
def test_a_list_is_read_strictly(text: str, listed: tuple[int, ...], reading: Reading) -> None:
    read = read_list(text, PROMPT, 4)
    assert (read.listed, read.reading) == (listed, reading)
    assert read.missing == 4 - len(listed)


def test_no_more_is_read_than_was_asked_for() -> None:
    assert read_list(" SR CV LL MO", PROMPT, 2).listed == (3, 0)


@pytest.mark.parametrize("behind_lead", [True, False])
@pytest.mark.parametrize("listed", [1, 3])
def test_the_pattern_allows_so_many_labels(listed: int, *, behind_lead: bool) -> None:
    pattern = list_pattern(("SR", "CV"), listed, behind_lead=behind_lead)
    lists = [" ".join(["CV"] * count) for count in (listed - 1, listed, listed + 1)]
    answers = [f" {text}" if behind_lead else text for text in lists]
    assert [bool(re.fullmatch(pattern, answer)) for answer in answers] == [False, True, False]


@given(SCORES)
def test_without_weight_the_prior_changes_no_order(scores: list[float]) -> None:
    ids = [f"item-{n}" for n in range(len(scores))]
    rounded = [round(score, 3) for score in scores]
    priors = [float(n) for n in range(len(scores))]
    assert in_order(ids, fused(rounded, priors, 0.0)) == in_order(ids, standardized(rounded))
    assert in_order(ids, fused([1.0] * len(ids), priors, 0.5))[0] == len(ids) - 1


@given(SCORES)
def test_standardized_scores_have_mean_zero_and_spread_one_or_none(scores: list[float]) -> None:
    z = standardized(scores)
    assert math.fsum(z) == pytest.approx(0, abs=1e-6)
    assert math.fsum(one * one for one in z) == pytest.approx(len(z), rel=1e-6) or set(z) == {0.0}


def test_a_fingerprint_changes_with_all_that_can_change_a_rank() -> None:
    engine = EngineFingerprint("m", "w", "t", "onnx", "1", "float32")
    methods = [
        Method(),
        Method(permutations=2),
        Method(calibrated=True),
        Method(PromptFormat(template=TemplateName.INV)),
        Method(PromptFormat(mode=Mode.LIKELIHOOD)),
        Method(PromptFormat(regularization=None)),
        Method(step_size=0.5),
    ]
    digests = {EvaluationFingerprint.of(engine, method).digest for method in methods}
    assert len(digests) == len(methods)
    assert EvaluationFingerprint.of(engine, Method(seed=9)).digest in digests
