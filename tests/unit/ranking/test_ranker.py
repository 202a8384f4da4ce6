from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import httpx2
import pytest

from services.llm.connection import ServerConfig
from services.llm.port import Generated, GenerationRequest, Regex, Terms
from services.llm.scripted import Script, ScriptedModel
from services.llm.scripted_server import ScriptedServer
from services.llm.vllm import VllmModel
from services.llm.wire import BATCH, CHAT
from services.observability.metrics import Metrics
from services.prompts import Lead, Mode, PromptFormat
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
