from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx2
import pytest

from services.llm.connection import ServerConfig
from services.llm.port import Generated, GenerationRequest, Regex, Terms
from services.llm.scripted import Script, ScriptedModel
from services.llm.scripted_server import ScriptedServer
from services.llm.vllm import VllmModel
from services.llm.wire import BATCH, CHAT
from services.observability.metrics import Metrics
from services.prompts import Demonstrated, Lead, Mode, PromptFormat
from services.ranking import Candidate, Method, Ranker, RankingRequest
from services.ranking.written import Reading

TERMS = Terms.within(86_400)  # later than any run of the tests
TITLES = ("Oak Desk Lamp", "Pine Camp Stove", "Steel Camp Kettle", "Silk Evening Scarf")
HISTORY = ("Pine Camp Table", "Steel Camp Mug", "Canvas Camp Chair")


def asked(*titles: str) -> RankingRequest:
    shown = titles or TITLES
    return RankingRequest(
        HISTORY, tuple(Candidate(f"item-{n}", title) for n, title in enumerate(shown))
    )


def liking(word: str) -> Callable[[str, str], float]:
    """A model that prefers the label, or the title, of whatever has the word in its line."""

    def preference(prompt: str, option: str) -> float:
        lines = [line for line in prompt.splitlines() if line.endswith(f"| {option.strip()}")]
        return 8.0 if word in (lines[-1] if lines else option) else 1.0

    return preference


async def best(script: Script, method: Method, request: RankingRequest | None = None) -> str:
    request = request or asked()
    ranking = await Ranker(ScriptedModel(script)).rank(request, method, TERMS)
    return str(request.candidates[ranking.order[0]].title)


@pytest.mark.parametrize("mode", [Mode.FIRST_TOKEN, Mode.LIKELIHOOD])
@pytest.mark.parametrize("lead", list(Lead))
async def test_what_the_model_prefers_comes_first(mode: Mode, lead: Lead) -> None:
    method = Method(PromptFormat(mode=mode, lead=lead))
    assert await best(Script(preference=liking("Kettle")), method) == "Steel Camp Kettle"


@pytest.mark.parametrize("mode", [Mode.FIRST_TOKEN, Mode.LIKELIHOOD])
async def test_scores_are_log_probabilities_among_the_candidates(mode: Mode) -> None:
    method = Method(PromptFormat(mode=mode), permutations=3)
    ranking = await Ranker(ScriptedModel()).rank(asked(), method, TERMS)
    assert math.fsum(map(math.exp, ranking.scores)) == pytest.approx(1.0)
    assert sorted(ranking.order) == [0, 1, 2, 3]
    assert ranking.rank_of(ranking.item_ids[ranking.order[2]]) == 3


async def test_permutations_average_away_a_liking_for_the_first_place() -> None:
    def first_place(prompt: str, option: str) -> float:
        lines = [line for line in prompt.splitlines() if " | " in line]
        return 9.0 if lines[0].endswith(f"| {option.strip()}") else 1.0

    request = asked(*(f"Item {n}" for n in range(8)))
    ranker = Ranker(ScriptedModel(Script(preference=first_place)))
    once = await ranker.rank(request, Method(), TERMS)
    often = await ranker.rank(request, Method(permutations=64), TERMS)
    assert once.order[0] == 0
    assert max(once.scores) - min(once.scores) > 7
    assert max(often.scores) - min(often.scores) < 2


async def test_calibration_subtracts_what_labels_are_worth_without_content() -> None:
    def by_label(prompt: str, option: str) -> float:
        return 9.0 if option == " CV" else 3.0 if liking("Kettle")(prompt, option) > 1 else 1.0

    script = Script(preference=by_label)
    assert await best(script, Method()) == "Pine Camp Stove"
    assert await best(script, Method(calibrated=True)) == "Steel Camp Kettle"


def test_no_other_mode_has_a_label_prior() -> None:
    with pytest.raises(ValueError, match="only first_token"):
        Method(PromptFormat(mode=Mode.LIKELIHOOD), calibrated=True)
    assert not Method(calibrated=True).in_mode(Mode.GENERATE).calibrated


async def test_first_token_generates_one_token_and_asks_once_for_all_permutations() -> None:
    served = ScriptedServer(Script())
    config = ServerConfig("http://scripted", served.script.model)
    async with VllmModel(config, Metrics(), transport=httpx2.ASGITransport(app=served)) as model:
        ranker = Ranker(model)
        await ranker.rank(asked(), Method(), TERMS)  # finds out what the server can do
        served.received.clear()
        await ranker.rank_all([asked(), asked()], Method(permutations=4, calibrated=True), TERMS)
    scoring = [received for received in served.received if received.path in (BATCH, CHAT)]
    assert len(scoring) == 1
    body = scoring[0].body
    assert len(body["messages"]) == 2 * 4 + 1, "both in four orders, and one prior for both"
    assert body["max_tokens"] == 1


def writing(text: str) -> Script:
    return Script(writer=lambda _: text)


async def test_a_written_list_is_the_ranking_and_what_is_missing_comes_last() -> None:
    model = ScriptedModel(writing(" LL CV"))
    ranking = await Ranker(model).rank(asked(), Method(PromptFormat(mode=Mode.GENERATE)), TERMS)
    assert ranking.order[:2] == (2, 1)
    assert ranking.written is not None
    assert (ranking.written.missing, ranking.written.reading) == (2, Reading.INCOMPLETE)


class Spy(ScriptedModel):
    def __init__(self) -> None:
        super().__init__()
        self.requests: list[GenerationRequest] = []

    async def generate(
        self, requests: Sequence[GenerationRequest], terms: Terms
    ) -> tuple[Generated, ...]:
        self.requests += requests
        return await super().generate(requests, terms)


async def test_a_list_is_asked_for_with_as_many_labels_as_wanted() -> None:
    model = Spy()
    await Ranker(model).rank(asked(), Method(PromptFormat(mode=Mode.GENERATE), listed=2), TERMS)
    assert [request.constraint for request in model.requests] == [Regex("( (SR|CV|LL|MO)){2}")]


async def test_no_requests_are_no_rankings() -> None:
    assert (await Ranker(ScriptedModel()).rank_all([], Method(), TERMS)).rankings == ()


async def test_requests_of_different_sizes_share_a_batch() -> None:
    requests = [asked(), asked(*TITLES[:2])]
    ranked = await Ranker(ScriptedModel()).rank_all(requests, Method(calibrated=True), TERMS)
    assert [len(one.scores) for one in ranked.rankings] == [4, 2]
    alone = await Ranker(ScriptedModel()).rank(requests[1], Method(calibrated=True), TERMS)
    assert ranked.rankings[1].scores == pytest.approx(alone.scores)


# --- step sizes -----------------------------------------------------------------------------------

DEMONSTRATED = Demonstrated("Likes scarves.", "Likes lamps.")


def persuaded(prompt: str, option: str) -> float:
    """Prefers kettles, unless a demonstration says scarves."""
    word = "Scarf" if DEMONSTRATED.current in prompt else "Kettle"
    return liking(word)(prompt, option)


def demonstrated(*titles: str) -> RankingRequest:
    return replace(asked(*titles), demonstrated=DEMONSTRATED)


@pytest.mark.parametrize("mode", [Mode.FIRST_TOKEN, Mode.LIKELIHOOD])
@pytest.mark.parametrize("step_size", [0.25, 0.5, 0.75])
async def test_a_step_size_is_how_much_of_the_way_to_the_demonstrated_is_gone(
    mode: Mode, step_size: float
) -> None:
    ranker = Ranker(ScriptedModel(Script(preference=persuaded)))
    whole = Method(PromptFormat(mode=mode), permutations=2)
    part = replace(whole, step_size=step_size)
    start = await ranker.rank(asked(), part, TERMS)
    end = await ranker.rank(demonstrated(), whole, TERMS)
    reached = await ranker.rank(demonstrated(), part, TERMS)
    assert start.order[0] == 2
    assert end.order[0] == 3
    odds = [
        [score - ranking.scores[0] for score in ranking.scores] for ranking in (start, end, reached)
    ]
    way = [near + step_size * (far - near) for near, far in zip(odds[0], odds[1], strict=True)]
    assert odds[2] == pytest.approx(way)
    assert math.fsum(map(math.exp, reached.scores)) == pytest.approx(1.0)
    assert reached.prompts == (*end.prompts, *start.prompts)
    assert reached.raw == (*end.raw, *start.raw)


async def test_a_part_of_a_written_step_is_on_the_places_of_both_lists() -> None:
    model = ScriptedModel(
        Script(writer=lambda asked: " MO LL" if "scarves" in asked.prompt else " LL MO")
    )
    method = Method(PromptFormat(mode=Mode.GENERATE), step_size=0.75)
    ranking = await Ranker(model).rank(demonstrated(), method, TERMS)
    assert ranking.scores == (-4, -4, -1.75, -1.25)
    assert ranking.written is not None
    assert ranking.written.listed == (3, 2), "that of the demonstration is told"


async def test_without_a_demonstration_there_is_no_way_to_go() -> None:
    ranker = Ranker(ScriptedModel())
    bare = await ranker.rank(asked(), Method(step_size=0.5), TERMS)
    assert len(bare.prompts) == 1
    assert bare.scores == (await ranker.rank(asked(), Method(), TERMS)).scores


async def test_variants_of_one_question_share_its_bare_prompt() -> None:
    served = ScriptedServer(Script(preference=persuaded))
    config = ServerConfig("http://scripted", served.script.model)
    other = replace(asked(), demonstrated=Demonstrated("Likes stoves."))
    requests = [demonstrated(), asked(), other, demonstrated(*TITLES[:2])]
    method = Method(step_size=0.5)
    async with VllmModel(config, Metrics(), transport=httpx2.ASGITransport(app=served)) as model:
        ranker = Ranker(model)
        alone = [await ranker.rank(one, method, TERMS) for one in requests]
        served.received.clear()
        together = await ranker.rank_all(requests, method, TERMS)
    assert [one.scores for one in together.rankings] == [one.scores for one in alone]
    scoring = [received for received in served.received if received.path in (BATCH, CHAT)]
    assert len(scoring) == 1
    # One of the two questions is asked bare anyhow.
    assert len(scoring[0].body["messages"]) == together.asked == 4 + 1


@pytest.mark.parametrize("step_size", [0.0, -1.0, 1.5, math.nan])
def test_a_step_size_is_above_0_and_1_at_most(step_size: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Method(step_size=step_size)
