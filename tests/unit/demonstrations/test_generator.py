from __future__ import annotations

import json

from services.demonstrations.generation import View, generator_prompt
from services.demonstrations.generator import Generator, Task, Writing
from services.demonstrations.snapshot import PastItem, Snapshot
from services.llm.port import JsonSchema, Terms
from services.llm.scripted import Script, ScriptedModel
from services.llm.scripted import Writing as Asked

TERMS = Terms.within(86_400)  # later than any run of the tests
TITLES = ("Nordvik Tent", "Velamo Lamp", "Nordvik Stove")
PROMPT = generator_prompt(Snapshot(tuple(PastItem(title, title) for title in TITLES)), View(), len)
GOOD = {
    "preference": "Likes Nordvik.",
    "evidence": ["Nordvik Tent"],
    "suggestion": "More of it.",
    "example": {"after": ["Nordvik Tent"], "chose": "Nordvik Stove", "because": "of the brand"},
}
UNKNOWN = {**GOOD, "evidence": ["Ravello Chair"]}


class Writer:
    """Writes these answers one after the other, the last one for good."""

    def __init__(self, *answers: object) -> None:
        self.answers = [one if isinstance(one, str) else json.dumps(one) for one in answers]
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> str:
        self.asked.append(asked)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def generator(writer: Writer) -> Generator:
    return Generator(ScriptedModel(Script(writer=writer)))


async def test_an_unfit_answer_is_asked_for_again_with_another_seed() -> None:
    writer = Writer("{", UNKNOWN, GOOD)
    (outcome,) = await generator(writer).write([Task(PROMPT, 7)], TERMS)
    assert outcome.demonstration is not None
    assert outcome.demonstration.evidence == ("Nordvik Tent",)
    assert [refusal.partition(":")[0] for refusal in outcome.refusals] == [
        "malformed",
        "unknown_item",
    ]
    assert len({asked.sampling.seed for asked in writer.asked}) == 3
    assert outcome.usage.completion > 0


async def test_attempts_are_bounded() -> None:
    writer = Writer(UNKNOWN)
    (outcome,) = await generator(writer).write([Task(PROMPT, 7)], TERMS, Writing(attempts=2))
    assert outcome.demonstration is None
    assert len(writer.asked) == 2


async def test_the_same_seed_asks_the_same_and_only_the_unfit_are_asked_again() -> None:
    one, other = Writer(GOOD), Writer(GOOD)
    await generator(one).write([Task(PROMPT, 1), Task(PROMPT, 2)], TERMS)
    await generator(other).write([Task(PROMPT, 2)], TERMS)
    assert len(one.asked) == 2
    assert one.asked[1].sampling == other.asked[0].sampling
    assert isinstance(other.asked[0].constraint, JsonSchema)
    assert other.asked[0].constraint == one.asked[1].constraint


async def test_an_answer_may_be_left_free() -> None:
    writer = Writer(GOOD)
    await generator(writer).write([Task(PROMPT, 1)], TERMS, Writing(constrained=False))
    assert writer.asked[0].constraint is None


async def test_an_answer_that_was_cut_off_says_so() -> None:
    writing = Writing(max_tokens=5, attempts=1)
    (outcome,) = await generator(Writer(GOOD)).write([Task(PROMPT, 1)], TERMS, writing)
    assert outcome.refusals[0].startswith("malformed: cut off")


async def test_a_task_may_have_a_temperature_of_its_own() -> None:
    writer = Writer(GOOD)
    tasks = [Task(PROMPT, 1), Task(PROMPT, 2, temperature=0.9)]
    await generator(writer).write(tasks, TERMS, Writing(temperature=0.3))
    assert [asked.sampling.temperature for asked in writer.asked] == [0.3, 0.9]
