"""Demonstrations to compare, in sets: what the model writes of a user, what rounds made of it, and
what it wrote of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from lab.tables.studies.forecast import terms
from lab.tables.studies.people import People, Person
from lab.tables.studies.rows import Rows
from services.demonstrations.generation import generator_prompt
from services.demonstrations.generator import Generator, Task
from services.optimizer.rules import Kind, seed_of
from services.prompts import Demonstrated, PromptTooLong

OTHERS = 3


class SetName(StrEnum):
    GENERATED = "generated"  # from different views and seeds, unselected
    LEARNED = "learned"  # by rounds, accepted or not
    PERTURBED = "perturbed"  # by rounds, under a perturbation
    OTHERS = "others"  # generated of other users: a control


Sets = dict[SetName, list[Demonstrated]]


async def sets_by_user(
    people: People,
    kept: Rows,
    size: int,
    rounds: int,
    tell: Callable[[str, int, int], None],
) -> dict[str, Sets]:
    """`size` texts generated of each user, and all that so many rounds wrote."""
    await people.learn(rounds, lambda done, of: tell("rounds", done, of))
    generated = await _generated(people, kept, size, tell)
    users = list(people.tests)
    found: dict[str, Sets] = {}
    for place, user in enumerate(users):
        others = [users[(place + step) % len(users)] for step in range(1, OTHERS + 1)]
        sets: Sets = {
            SetName.GENERATED: generated[user],
            SetName.LEARNED: [],
            SetName.PERTURBED: [],
            SetName.OTHERS: [generated[one][0] for one in others if one != user and generated[one]],
        }
        for variant in await people.written_by_rounds(user, rounds):
            shown = variant.demonstrated
            if shown is not None:
                perturbed = variant.kind is Kind.PERTURBED
                sets[SetName.PERTURBED if perturbed else SetName.LEARNED].append(shown)
        found[user] = sets
    return found


async def _generated(
    people: People, kept: Rows, size: int, tell: Callable[[str, int, int], None]
) -> dict[str, list[Demonstrated]]:
    found = {row["user"]: _of_row(row) for row in kept.known}
    for done, user in enumerate(people.tests, start=1):
        if user not in found:
            texts = await _written(people, await people.person(user), size)
            kept.add({"user": user, "texts": [one.current for one in texts]})
            found[user] = texts
        tell("texts", done, len(people.tests))
    return found


def _of_row(row: Mapping[str, Any]) -> list[Demonstrated]:
    return [Demonstrated(text) for text in row["texts"]]


async def _written(people: People, person: Person, size: int) -> list[Demonstrated]:
    """Each as another path would see the user, with a seed of its own. Equal ones count once."""
    model, plan = people.model, people.plan
    count = await model.counter(terms())
    try:
        tasks = [
            Task(
                generator_prompt(person.snapshot, plan.view(number), count),
                seed_of(plan.seed, person.user_id, number, 0, "study"),
            )
            for number in range(size)
        ]
    except (ValueError, PromptTooLong):
        return []
    outcomes = await Generator(model, is_item=people.is_item).write(tasks, terms(), plan.writing)
    texts = [one.demonstration.as_text() for one in outcomes if one.demonstration is not None]
    return [Demonstrated(text) for text in dict.fromkeys(texts)]
