"""What is reserved before a call is never less than what the call costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.llm.port import Terms
from services.llm.scripted import ScriptedModel
from services.optimizer.estimates import most_cost
from services.prompts import Demonstrated, Lead, Mode, PromptFormat
from services.ranking import Candidate, Method, Ranker, RankingRequest

TERMS = Terms.within(86_400)
TITLES = ("Oak Desk Lamp", "Pine Camp Stove", "Steel Camp Kettle", "Silk Evening Scarf")
BARE = RankingRequest(
    ("Pine Camp Table", "Steel Camp Mug"),
    tuple(Candidate(f"item-{n}", title) for n, title in enumerate(TITLES)),
)
TOLD = replace(BARE, demonstrated=Demonstrated("Preference: Camp things.\nSuggestion: Camp Stove."))


@pytest.mark.parametrize("step_size", [0.5, 1.0])
@pytest.mark.parametrize("lead", list(Lead))
@pytest.mark.parametrize(
    ("mode", "calibrated"), [(Mode.FIRST_TOKEN, True), *((mode, False) for mode in Mode)]
)
@pytest.mark.parametrize("requests", [[BARE], [TOLD], [BARE, TOLD]])
async def test_as_much_is_reserved_as_a_ranking_costs(
    mode: Mode, lead: Lead, step_size: float, calibrated: bool, requests: list[RankingRequest]
) -> None:
    form = PromptFormat(mode=mode, lead=lead)
    method = Method(form, permutations=2, calibrated=calibrated, step_size=step_size)
    model = ScriptedModel()
    count = await model.counter(TERMS)
    most = most_cost(requests, method, count)
    ranked = await Ranker(model).rank_all(requests, method, TERMS)
    assert 0 < ranked.asked <= most.calls
    assert 0 < ranked.usage.prompt + ranked.usage.completion <= most.tokens


async def test_reasoning_and_what_a_model_says_without_content_are_asked_for_too() -> None:
    ranker = Ranker(ScriptedModel())
    plain = await ranker.rank_all([BARE], Method(), TERMS)
    reasoning = Method(PromptFormat(lead=Lead.REASONING))
    calibrated = Method(calibrated=True)
    assert plain.asked == 1
    assert (await ranker.rank_all([BARE], reasoning, TERMS)).asked == 2
    assert (await ranker.rank_all([BARE], calibrated, TERMS)).asked == 2
    assert (await ranker.rank_all([BARE], calibrated, TERMS)).asked == 1, "it is known by now"
