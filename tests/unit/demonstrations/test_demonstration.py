"""What the form of a demonstration promises to those who write, read and show it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.demonstrations.demonstration import (
    LONGEST_ANSWER,
    Demonstration,
    Example,
    Malformed,
    demonstration_schema,
    parse_demonstration,
    schema_of_titles,
    splits,
)
from services.demonstrations.variant import ServedVariant
from services.prompts import Demonstrated, PromptFormat, PromptRequest, SegmentName, compose

TENT, LAMP, RADIO = "Nordvik Classic Tent", "Lumaro Vintage Desk Lamp", "Velamo Rugged Radio"
GOOD = Demonstration(
    preference="Tent, Radio; Nordvik, Velamo; Classic",
    evidence=(TENT, RADIO),
    suggestion="more of Nordvik.",
    example=Example(after=(TENT, LAMP), chose=RADIO, because="Velamo is liked"),
)

sentences = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80).filter(
    lambda text: bool(text.strip()) and any(char.isalnum() and char.isascii() for char in text)
)
demonstrations = st.builds(
    Demonstration,
    preference=sentences,
    evidence=st.lists(sentences, min_size=1, max_size=5).map(tuple),
    suggestion=sentences,
    example=st.builds(
        Example,
        after=st.lists(sentences, min_size=1, max_size=4).map(tuple),
        chose=sentences,
        because=sentences,
    ),
)


def changed(**fields: object) -> str:
    return json.dumps({**GOOD.model_dump(mode="json"), **fields})


def test_a_demonstration_reads_as_four_plain_lines() -> None:
    assert GOOD.as_text() == (
        "Preference: Tent, Radio; Nordvik, Velamo; Classic.\n"
        "Evidence: Nordvik Classic Tent; Velamo Rugged Radio.\n"
        "Suggestion: more of Nordvik.\n"
        "Example: after Nordvik Classic Tent; Lumaro Vintage Desk Lamp "
        "the user chose Velamo Rugged Radio because Velamo is liked."
    )


def test_it_is_short() -> None:
    assert len(GOOD.as_text()) / 4 < 70


@given(demonstrations)
@example(GOOD.model_validate({**GOOD.model_dump(), "preference": "\ufdfa" * 300}))
def test_what_is_written_as_json_is_read_back(demonstration: Demonstration) -> None:
    assert parse_demonstration(demonstration.as_json()) == demonstration


@given(demonstrations)
def test_a_prompt_shows_the_text_unchanged(demonstration: Demonstration) -> None:
    text = demonstration.as_text()
    request = PromptRequest(history=("Tent",), demonstrated=Demonstrated(text))
    prompt = compose(PromptFormat(), request, count=lambda _: 1)
    by_name = {segment.name: segment.text for segment in prompt.segments}
    assert len(text.splitlines()) == 4
    assert by_name[SegmentName.DEMONSTRATION] == f"About this user:\n{text}\n"


@pytest.mark.parametrize("around", ["{}", "\n {} \n", "```json\n{}\n```", "```\n{}```\n"])
def test_an_answer_may_stand_in_white_space_or_a_code_fence(around: str) -> None:
    assert parse_demonstration(around.replace("{}", GOOD.as_json())) == GOOD


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "JSON"),
        ("I like tents.", "JSON"),
        (GOOD.as_json()[:-1], "JSON"),
        (GOOD.as_json() * 2, "JSON"),
        (f"Here it is: {GOOD.as_json()}", "JSON"),
        ("[" * 5_000, "JSON"),
        ('{"preference": "\\ud800"}', "JSON"),
        ("[]", "object"),
        ("null", "object"),
        ("{}", "preference"),
        (changed(rank="SR"), "rank"),
        (changed(preference=""), "preference"),
        (changed(preference=" \u200b "), "preference"),
        (changed(preference=3), "preference"),
        (changed(preference="x" * 301), "preference"),
        (changed(evidence=[]), "evidence"),
        (changed(evidence="Tent"), "evidence"),
        (changed(evidence=["Tent"] * 6), "evidence"),
        (changed(example={"after": ["Tent"], "chose": "Radio"}), "example.because"),
        (changed(example={"after": [], "chose": "a", "because": "b"}), "example.after"),
        (" " * (LONGEST_ANSWER + 1), "longer"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_malformed_answer_is_told_why(answer: str, reason: str) -> None:
    read = parse_demonstration(answer)
    assert isinstance(read, Malformed)
    assert reason in read.reason


@given(st.text(st.characters()) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_answer_is_read_or_told_why(answer: str) -> None:
    assert isinstance(parse_demonstration(answer), Demonstration | Malformed)


def test_a_demonstration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        GOOD.preference = "other"  # type: ignore[misc]
    assert hash(GOOD) == hash(GOOD.model_copy())


def test_all_named_items_are_known_by_name() -> None:
    assert GOOD.named_items == (TENT, RADIO, TENT, LAMP, RADIO)


def test_the_schema_is_plain_and_the_same_every_time() -> None:
    schema = demonstration_schema()
    assert schema == demonstration_schema()
    text = json.dumps(schema)
    for unsupported in ("$ref", "$defs", "uniqueItems", "maxLength", "title", "description"):
        assert unsupported not in text
    assert schema["required"] == list(GOOD.model_dump())
    assert schema["additionalProperties"] is False
    assert schema["properties"]["example"]["additionalProperties"] is False


def test_a_schema_of_titles_allows_no_other_and_only_an_example_that_happened() -> None:
    properties: dict[str, Any] = schema_of_titles((TENT, RADIO, TENT), split=1)["properties"]
    example = properties["example"]["properties"]
    assert properties["evidence"]["items"] == {"type": "string", "enum": [TENT, RADIO]}
    assert example["after"]["items"] == {"type": "string", "enum": [TENT]}
    assert example["chose"] == {"type": "string", "enum": [RADIO]}


def test_titles_are_split_only_where_something_new_was_chosen_later() -> None:
    assert splits((TENT, RADIO, TENT)) == [1]
    assert splits((TENT, TENT)) == []


def test_a_variant_is_shown_as_the_texts_of_both() -> None:
    variant = ServedVariant("v", 0, 1, 0.5, -1.0, 80, GOOD.as_text())
    assert variant.texts() == Demonstrated(GOOD.as_text())
    perturbed = replace(variant, perturbation=GOOD.as_text())
    assert perturbed.texts() == Demonstrated(GOOD.as_text(), GOOD.as_text())
