"""No method is told the target, or anything that was taken at the target's time or after it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from lab.evaluation.counted import Counted
from lab.evaluation.methods import METHODS, MethodName, make_scorer
from lab.evaluation.prior import Prior
from lab.evaluation.questions import Question, Split, Training, training_part
from lab.evaluation.scorers import Means, Scored
from services.llm.port import Labels, LabelScores, Terms
from services.llm.scripted import ScriptedModel
from services.prompts import Mode, PromptFormat
from services.ranking import Method
from services.ranking.written import Reading
from tests.unit.lab.evaluation.conftest import ITEMS, SEQUENCES

# Others need torch or SciPy: in tests/lab the same is asked of them.
UNTRAINED = [name for name in MethodName if METHODS[name].kept_as is None]
TITLES = {item: f"Title {item}" for item in ITEMS}


def sequences() -> dict[str, tuple[str, ...]]:
    return {user: tuple(items) for user, items in SEQUENCES.items()}


def means_of(
    split: Split,
    model: ScriptedModel | None = None,
    taken_by: dict[str, tuple[str, ...]] | None = None,
) -> Means:
    training = training_part(TITLES, taken_by or sequences(), split)
    taken = training.sequences.values()
    return Means(training, Counted(taken), Prior(taken), model)


def test_a_question_has_no_place_for_the_target() -> None:
    assert {field.name for field in fields(Question)} == {"user_id", "history", "candidates"}
    assert {field.name for field in fields(Training)} == {"titles", "sequences"}


def test_nobodys_two_newest_items_are_learned_from(split: Split) -> None:
    training = training_part(TITLES, sequences(), split)
    assert training.sequences == {user: tuple(items[:-2]) for user, items in SEQUENCES.items()}


def test_nor_is_what_comes_after_a_questions_history(split: Split) -> None:
    early = replace(split.questions[0], history=("i0",))
    training = training_part(TITLES, sequences(), replace(split, questions=(early,)))
    assert training.sequences["ada"] == ("i0",)


@pytest.mark.parametrize("name", UNTRAINED)
async def test_scores_are_the_same_whichever_candidate_was_chosen(
    name: MethodName, split: Split
) -> None:
    another = {user: (*items[:-1], "i9") for user, items in sequences().items()}
    others = replace(split, targets={"ada": "i9", "bob": "i9"})
    answers = []
    for one, taken in ((split, sequences()), (others, another)):
        scorer = make_scorer(name, means_of(one, ScriptedModel(), taken))
        answers.append([await scorer.score(question) for question in one.questions])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", UNTRAINED)
async def test_every_candidate_gets_a_score(name: MethodName, split: Split) -> None:
    scorer = make_scorer(name, means_of(split, ScriptedModel()))
    for question in split.questions:
        assert len((await scorer.score(question)).scores) == len(question.candidates)


async def test_popularity_counts_users_and_covisitation_what_they_take_together(
    split: Split,
) -> None:
    means = means_of(split)
    question = Question("new", ("i2",), ("i0", "i1", "i9"))
    popular = await make_scorer(MethodName.POPULARITY, means).score(question)
    assert popular == Scored((2.0, 3.0, 0.0))
    for name in (MethodName.COVISIT, MethodName.RETRIEVAL):
        near = (await make_scorer(name, means).score(question)).scores
        assert near[1] > near[2]
        assert near[0] > near[2]


async def test_items_without_evidence_are_parted_by_popularity(split: Split) -> None:
    question = Question("new", ("i11",), ("i9", "i0", "i1"))
    for name in (MethodName.COVISIT, MethodName.RETRIEVAL):
        scores = (await make_scorer(name, means_of(split)).score(question)).scores
        assert scores[0] < scores[1] < scores[2]


class Listening(ScriptedModel):
    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def score_labels(  # type: ignore[override]
        self, chats: list[object], labels: Labels, terms: Terms
    ) -> LabelScores:
        self.read += [str(chat) for chat in chats]
        return await super().score_labels(chats, labels, terms)  # type: ignore[arg-type]


async def test_zero_shot_shows_the_window_and_zero_shot_long_older_history_too(
    split: Split,
) -> None:
    long_ago = ("i0", *(item for item in ITEMS if item not in ("i0", "i9")))
    question = Question("ada", long_ago, ("i9", "i0"))
    shown = {}
    for name in (MethodName.ZERO_SHOT, MethodName.ZERO_SHOT_LONG):
        model = Listening()
        await make_scorer(name, means_of(split, model)).score(question)
        shown[name] = model.read[-1].split("Title i9")[0]
    assert "Title i0" not in shown[MethodName.ZERO_SHOT]
    assert "Title i0" in shown[MethodName.ZERO_SHOT_LONG]


async def test_a_written_list_comes_with_how_it_was_read(split: Split) -> None:
    means = replace(
        means_of(split, ScriptedModel()), ranking=Method(PromptFormat(mode=Mode.GENERATE))
    )
    scored = await make_scorer(MethodName.ZERO_SHOT, means).score(split.questions[0])
    assert isinstance(scored.reading, Reading)


def test_every_name_has_a_recipe() -> None:
    assert set(METHODS) == set(MethodName)
