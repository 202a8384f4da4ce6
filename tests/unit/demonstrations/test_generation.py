"""What the generator is asked, and what it is not told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.demonstrations import generation
from services.demonstrations.demonstration import (
    Demonstration,
    Example,
    demonstration_schema,
    schema_of_titles,
)
from services.demonstrations.generation import (
    GeneratorLimits,
    GeneratorPrompt,
    Part,
    Remembered,
    View,
    ViewKind,
    generator_prompt,
    generator_version,
)
from services.demonstrations.snapshot import LeakedHeldOut, PastItem, Snapshot
from services.prompts import PromptTooLong

HISTORY = (
    PastItem("1", "Nordvik Classic Tent", {"brand": "Nordvik", "kind": "Tent"}),
    PastItem("2", "Lumaro Vintage Desk Lamp", {"brand": "Lumaro", "kind": "Desk Lamp"}),
    PastItem("3", "Nordvik Rugged Radio", {"brand": "Nordvik", "kind": "Radio"}),
)
SNAPSHOT = Snapshot(
    HISTORY,
    (PastItem("4", "Velamo Alpine Tent"),),
    {"member_since": "2025-03-20", "country": "FR"},
)
EARLIER = Demonstration(
    preference="Nordvik",
    evidence=("Nordvik Classic Tent",),
    suggestion="tents",
    example=Example(after=("Nordvik Classic Tent",), chose="Nordvik Rugged Radio", because="brand"),
)


def words(text: str) -> int:
    return len(text.split())


def prompted(
    kind: ViewKind = ViewKind.TITLES,
    window: int = 20,
    *,
    snapshot: Snapshot = SNAPSHOT,
    tokens: int = 1000,
    memory: tuple[Remembered, ...] = (),
    perturbation: Demonstration | None = None,
) -> GeneratorPrompt:
    return generator_prompt(
        snapshot,
        View(kind, window),
        words,
        memory=memory,
        perturbation=perturbation,
        limits=GeneratorLimits(prompt_tokens=tokens, chat_tokens=0),
    )


def content(prompt: GeneratorPrompt) -> str:
    (message,) = prompt.chat.messages
    assert message.role == "user"
    assert prompt.chat.lead == ""
    return message.content


ASKED = """\
Describe what this user likes, so that their next choice can be predicted.
Answer with one JSON object: "preference" (what they like), "evidence" (past items that show it), \
"suggestion" (what to look for next), "example" (real past items: "after" some, what they \
"chose", "because" of what). Name only items listed here.
Profile: country FR; member_since 2025-03-20.
"""
LISTED = """\
Chosen so far, oldest first:
- Nordvik Classic Tent
- Lumaro Vintage Desk Lamp
- Nordvik Rugged Radio"""


def test_paths_see_the_user_differently() -> None:
    counted = (
        "Chosen how often:\n- brand = Nordvik 2, Lumaro 1\n- kind = Desk Lamp 1, Radio 1, Tent 1\n"
    )
    others = "\nOthers with these choices also chose:\n- Velamo Alpine Tent"
    assert content(prompted(ViewKind.TITLES)) == ASKED + LISTED
    assert content(prompted(ViewKind.ATTRIBUTES)) == ASKED + counted + LISTED
    assert content(prompted(ViewKind.NEIGHBORS)) == ASKED + LISTED + others


def test_an_item_without_attributes_or_title_is_still_one() -> None:
    snapshot = Snapshot((PastItem("1", None), PastItem("2", "Tent\n[INST]")))
    assert content(prompted(ViewKind.ATTRIBUTES, snapshot=snapshot)).endswith(
        "Chosen so far, oldest first:\n- untitled\n- Tent (INST)"
    )


def test_counts_are_of_all_history_and_titles_of_the_window() -> None:
    prompt = prompted(ViewKind.ATTRIBUTES, window=2)
    assert "brand = Nordvik 2" in content(prompt)
    assert "- Nordvik Classic Tent" not in content(prompt)
    assert prompt.listed_titles == ("Lumaro Vintage Desk Lamp", "Nordvik Rugged Radio")
    assert len(prompt.known_titles) == 3


def test_a_part_of_a_view_is_one_half_of_what_it_lists_where_that_is_enough() -> None:
    titles = [f"Item {number}" for number in range(14)]
    view = View(window=10, skipped=2)
    assert view.listed(titles) == titles[2:12]
    assert replace(view, part=Part.OLDER).listed(titles) == titles[2:7]
    assert replace(view, part=Part.NEWER).listed(titles) == titles[7:12]
    assert replace(view, part=Part.NEWER).listed(titles[:7]) == titles[:5]


def test_memory_is_shown_with_its_effect_best_first_and_no_more_than_fits_the_setting() -> None:
    memory = tuple(Remembered(EARLIER, effect) for effect in (1.0, 0.6309297535714574, 0.5))
    text = content(prompted(memory=memory))
    assert "and how well they predicted, in percent:\n- 100: Preference: Nordvik." in text
    assert "\n- 63: Preference: Nordvik. Evidence: Nordvik Classic Tent." in text
    assert "- 50:" not in text


def test_a_perturbation_is_shown_as_another_view() -> None:
    text = content(prompted(perturbation=EARLIER))
    assert "\nAnother description, for a fresh view:\n- Preference: Nordvik." in text


def test_an_answer_may_name_all_past_items_and_mention_the_neighbors_shown() -> None:
    prompt = prompted(ViewKind.NEIGHBORS, window=2)
    assert prompt.known_titles == tuple(item.title for item in HISTORY)
    assert prompt.neighbor_titles == ("Velamo Alpine Tent",)
    assert prompted(ViewKind.TITLES).neighbor_titles == ()
    assert prompt.schema == demonstration_schema()
    of_titles = [prompt.schema_of_listed_titles(seed) for seed in range(20)]
    listed = prompt.listed_titles
    assert all(schema == schema_of_titles(listed, 1) for schema in of_titles), "two are listed"


def test_the_oldest_history_goes_first_and_memory_next() -> None:
    memory = (Remembered(EARLIER, 1.0),)
    whole = words(content(prompted(memory=memory)))
    less = prompted(memory=memory, tokens=whole - 1)
    assert (less.history_left_out, less.memory_left_out) == (1, 0)
    assert less.listed_titles == ("Lumaro Vintage Desk Lamp", "Nordvik Rugged Radio")
    least = prompted(memory=memory, tokens=words(ASKED + LISTED))
    assert (least.history_left_out, least.memory_left_out) == (0, 1)
    with pytest.raises(PromptTooLong):
        prompted(tokens=20)


@pytest.mark.parametrize("items", [0, 1])
def test_less_than_two_past_items_are_no_ground_for_a_demonstration(items: int) -> None:
    with pytest.raises(ValueError, match="needs 2 past items"):
        prompted(snapshot=Snapshot(HISTORY[:items]))


@pytest.mark.parametrize("leaking", ["1", "4"])
def test_a_snapshot_with_a_held_out_item_is_refused(leaking: str) -> None:
    SNAPSHOT.require_free_of({"5", "6"})
    with pytest.raises(LeakedHeldOut, match=leaking):
        SNAPSHOT.require_free_of({leaking, "5"})


@pytest.mark.parametrize("kind", ViewKind)
def test_the_same_snapshot_gives_the_same_bytes(kind: ViewKind) -> None:
    shuffled = replace(SNAPSHOT, profile={"country": "FR", "member_since": "2025-03-20"})
    assert prompted(kind) == prompted(kind, snapshot=shuffled)


def test_the_version_changes_with_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    before = generator_version()
    generator_version.cache_clear()
    monkeypatch.setattr(generation, "demonstration_schema", lambda: {"type": "object"})
    assert generator_version() != before
    generator_version.cache_clear()


def test_the_published_version_stands() -> None:
    """lrgd-mini is trained on it: whoever changes it trains and measures it anew."""
    assert generator_version() == "generator-b30812883e66"
