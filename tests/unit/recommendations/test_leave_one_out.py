from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.llm.chat import Chat
from services.llm.errors import ModelTimeout
from services.llm.port import Labels, LabelScores, Terms
from services.llm.scripted import Script, ScriptedModel
from services.prompts import Demonstrated, Limits, Mode, PromptFormat
from services.ranking import Candidate, Method, Ranker, Ranking, RankingRequest
from services.recommendations.leave_one_out import (
    MOST_PROMPTS,
    LeaveOneOut,
    LeftOutKind,
    leave_one_out,
)

TERMS = Terms.within(86_400)
CANDIDATES = ("Oak Desk Lamp", "Pine Camp Stove", "Silk Evening Scarf")
HISTORY = ("Silk Scarf", "Camp Table", "Oak Box", "Camp Mug", "Camp Chair")
DEMONSTRATION = "Preference: Camp things.\nEvidence: Camp Table.\nSuggestion: Camp Lamp."


def request(**more: object) -> RankingRequest:
    shown = tuple(Candidate(f"item-{n}", title) for n, title in enumerate(CANDIDATES))
    return RankingRequest(**{"history": HISTORY, "candidates": shown, **more})  # type: ignore[arg-type]


def in_common(prompt: str, option: str) -> float:
    """How often the words of the option's title stand in the history and the demonstration."""
    lines = prompt.replace("<end>", "").splitlines()
    said = Counter(word for line in lines if " | " not in line for word in line.split())
    titles = [line for line in lines if line.endswith(f"| {option.strip()}")]
    return float(min(9, sum(said[word] for word in titles[-1].split()[1:-2]))) if titles else 0.0


class Counting(ScriptedModel):
    """How many prompts it was asked about, by call."""

    def __init__(self) -> None:
        super().__init__(Script(preference=in_common))
        self.calls: list[int] = []

    async def score_labels(
        self, chats: Sequence[Chat], labels: Labels, terms: Terms
    ) -> LabelScores:
        self.calls.append(len(chats))
        return await super().score_labels(chats, labels, terms)


async def explained(
    asked: RankingRequest, method: Method | None = None
) -> tuple[LeaveOneOut, Ranking, Counting]:
    model = Counting()
    ranker = Ranker(model)
    ranking = await ranker.rank(asked, method or Method(), TERMS)
    first = ranking.item_ids[ranking.order[0]]
    model.calls.clear()
    return await leave_one_out(ranker, ranking, asked, first, TERMS), ranking, model


async def test_what_is_left_out_is_what_the_model_says_without_it() -> None:
    asked = request(demonstrated=Demonstrated(DEMONSTRATION))
    found, ranking, model = await explained(asked)
    assert found.item_id == "item-1"
    kinds = [one.kind for one in found.effects]
    assert kinds == [LeftOutKind.SENTENCE] * 3 + [LeftOutKind.ITEM] * 5
    by_text = {one.text: one.effect for one in found.effects}
    for text in HISTORY:
        kept = tuple(one for one in HISTORY if one != text)
        without = await Ranker(model).rank(
            request(history=kept, demonstrated=asked.demonstrated), Method(), TERMS
        )
        assert by_text[text] == pytest.approx(ranking.scores[1] - without.scores[1])
    assert by_text["Camp Mug"] > 0 > by_text["Silk Scarf"]
    assert by_text["Preference: Camp things."] > 0


async def test_all_are_asked_about_in_one_call() -> None:
    _, _, model = await explained(request(demonstrated=Demonstrated(DEMONSTRATION)))
    assert model.calls == [8]


async def test_a_perturbation_has_sentences_too() -> None:
    texts = Demonstrated(DEMONSTRATION, "Preference: Oak things.\nSuggestion: Oak Desk.")
    found, _, _ = await explained(request(demonstrated=texts))
    sentences = [one.text for one in found.effects if one.kind is LeftOutKind.SENTENCE]
    assert sentences == [*DEMONSTRATION.splitlines(), *str(texts.perturbation).splitlines()]


async def test_no_older_item_takes_the_place_of_one_that_is_left_out() -> None:
    method = Method(PromptFormat(limits=Limits(history_items=3)))
    found, ranking, model = await explained(request(), method)
    assert [one.text for one in found.effects] == list(HISTORY[:1:-1])
    without = await Ranker(model).rank(request(history=HISTORY[2:4]), method, TERMS)
    assert found.effects[0].effect == pytest.approx(ranking.scores[1] - without.scores[1])


async def test_calls_are_bounded_and_the_newest_items_asked_about() -> None:
    history = tuple(f"Camp Thing {n}" for n in range(50))
    method = Method(PromptFormat(limits=Limits(history_items=50)), permutations=2)
    found, _, model = await explained(request(history=history), method)
    assert sum(model.calls) == MOST_PROMPTS
    assert [one.text for one in found.effects] == list(history[: -MOST_PROMPTS // 2 - 1 : -1])
    assert found.not_asked == 50 - MOST_PROMPTS // 2


async def test_below_a_whole_step_the_sentences_share_the_prompt_without() -> None:
    asked = request(demonstrated=Demonstrated(DEMONSTRATION))
    method = Method(step_size=0.5)
    found, ranking, model = await explained(asked, method)
    assert model.calls == [3 + 1 + 2 * len(HISTORY)]
    without = await Ranker(model).rank(replace(asked, history=HISTORY[:-1]), method, TERMS)
    newest = next(one for one in found.effects if one.kind is LeftOutKind.ITEM)
    assert newest.effect == pytest.approx(ranking.scores[1] - without.scores[1])


@pytest.mark.parametrize("permutations", [1, 3])
async def test_calls_are_bounded_below_a_whole_step(permutations: int) -> None:
    history = tuple(f"Camp Thing {n}" for n in range(50))
    method = Method(
        PromptFormat(limits=Limits(history_items=50)), permutations=permutations, step_size=0.5
    )
    asked = request(history=history, demonstrated=Demonstrated(DEMONSTRATION))
    found, _, model = await explained(asked, method)
    assert MOST_PROMPTS - 2 * permutations < sum(model.calls) <= MOST_PROMPTS
    assert len(found.effects) + found.not_asked == 3 + len(history)


async def test_titles_can_be_left_out_by_likelihood_as_well() -> None:
    found, _, _ = await explained(request(), Method(PromptFormat(mode=Mode.LIKELIHOOD)))
    assert len(found.effects) == len(HISTORY)


async def test_a_written_list_has_no_log_probabilities() -> None:
    found, _, model = await explained(request(), Method(PromptFormat(mode=Mode.GENERATE)))
    assert found.reason == "no_log_probabilities"
    assert not found.effects
    assert not model.calls


async def test_without_an_answer_in_time_the_reason_is_told() -> None:
    class Slow(Counting):
        async def score_labels(self, *_: object) -> LabelScores:
            raise ModelTimeout("too late")

    ranker = Ranker(Counting())
    ranking = await ranker.rank(request(), Method(), TERMS)
    found = await leave_one_out(Ranker(Slow()), ranking, request(), "item-1", TERMS)
    assert (found.effects, found.not_asked, found.reason) == ((), len(HISTORY), "timeout")
