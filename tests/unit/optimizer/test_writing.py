"""What paths are asked to write, and which text of another one theirs is shown beside."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from services.demonstrations.demonstration import Demonstration, Example
from services.demonstrations.models import StoredDemonstration, StoredVariant
from services.demonstrations.snapshot import PastItem, Snapshot
from services.optimizer.learning_repository import KnownVariant
from services.optimizer.ledger import Claimed
from services.optimizer.material import Material, Positive
from services.optimizer.models import Path
from services.optimizer.plan import Plan
from services.optimizer.rules import Judged
from services.optimizer.under_way import ZERO_SHOT_PATH, UnderWay
from services.optimizer.writing import what_is_asked

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = tuple(PastItem(str(number), f"Item {number}") for number in range(24))
PLAN = Plan(paths=3, held_out=1, draws=1)


def known(name: str, path: int, log_score: float, *, incumbent: bool) -> KnownVariant:
    content = Demonstration(
        preference=f"What {name} says",
        evidence=("Item 1",),
        suggestion="more",
        example=Example(after=("Item 1",), chose="Item 2", because="so it was"),
    )
    text = StoredDemonstration(
        demonstration_id=f"d-{name}", text=content.as_text(),
        content=content.model_dump(mode="json"),
        made_at=NOW,
    )  # fmt: skip
    row = StoredVariant(
        variant_id=name, path=path, round_number=1, current_id=f"d-{name}", incumbent=incumbent,
        effective=False, tokens=10, effect_d=0.5, log_score=log_score,
    )  # fmt: skip
    return KnownVariant(row, text, None)


def going(
    plan: Plan, *, incumbents: tuple[int, ...] = (), collapsed: tuple[int, ...] = ()
) -> UnderWay:
    """The second round: each path wrote one text, and the higher its number the better."""
    bare = KnownVariant(
        StoredVariant(variant_id="bare", path=ZERO_SHOT_PATH, round_number=0, tokens=0), None, None
    )
    texts = [
        known(name, path, path - 3.0, incumbent=path in incumbents)
        for path, name in enumerate("abc")
    ]
    return UnderWay(
        Claimed("round", "run", "ada", 2, 1, "lease", plan, NOW),
        Material(Snapshot(HISTORY), (), (Positive("newest", "x", NOW, 1),)),
        plan.method,
        "f",
        len,
        {one.variant_id: one for one in (bare, *texts)},
        {
            "bare": [Judged("newest", 0, 5, -4.0)],
            **{one.variant_id: [Judged("newest", 0, 3, one.row.log_score or 0)] for one in texts},
        },
        {
            path: Path(
                user_id="ada", path=path, rounds=1, collapsed=path in collapsed, steps=[],
                last_id=f"d-{name}",
            )
            for path, name in enumerate("abc")
        },
    )  # fmt: skip


def shown_beside(under_way: UnderWay) -> list[str | None]:
    return [one.beside_id for one in what_is_asked(under_way).values()]


def test_a_text_is_shown_beside_the_best_of_another_path() -> None:
    assert shown_beside(going(PLAN, incumbents=(0, 1, 2))) == ["d-c", "d-c", "d-b"]


def test_where_nothing_was_accepted_it_is_shown_beside_what_another_path_wrote_last() -> None:
    assert shown_beside(going(PLAN)) == ["d-b", "d-c", "d-a"]


def test_in_the_first_round_there_is_nothing_to_be_shown_beside() -> None:
    first = going(PLAN)
    first.paths = {}
    assert shown_beside(first) == [None, None, None]


def test_texts_stand_alone_where_the_run_wants_it() -> None:
    alone = PLAN.model_copy(update={"paired": False})
    assert shown_beside(going(alone, incumbents=(0, 1, 2))) == [None, None, None]


def test_a_collapsed_path_is_lent_a_text_and_writes_about_one_half_of_what_it_sees() -> None:
    under_way = going(PLAN, incumbents=(0, 1, 2), collapsed=(1,))
    asked = what_is_asked(under_way)
    assert [one.perturbed for one in asked.values()] == [False, True, False]
    assert asked[1].beside_id == "d-c", "it is shown beside the best one all the same"
    (message,) = asked[1].prompt.chat.messages
    assert "Another description, for a fresh view:" in message.content
    assert set(asked[1].prompt.listed_titles) < set(asked[0].prompt.listed_titles)
    temperatures = [one.task(under_way.claimed, path, 0).temperature for path, one in asked.items()]
    assert temperatures == [None, PLAN.perturbed_temperature, None]
    later = going(PLAN, incumbents=(0, 1, 2), collapsed=(1,))
    later.claimed = replace(later.claimed, number=3)
    assert not set(what_is_asked(later)[1].prompt.listed_titles) & set(
        asked[1].prompt.listed_titles
    )


def test_a_perturbation_is_shown_where_texts_are_not_paired() -> None:
    alone = PLAN.model_copy(update={"paired": False})
    under_way = going(alone, incumbents=(0, 1, 2), collapsed=(1,))
    first, second, third = shown_beside(under_way)
    assert first is third is None
    assert second in {"d-a", "d-c"}


def test_without_perturbation_a_collapsed_path_goes_on_as_before() -> None:
    plan = PLAN.model_copy(update={"perturbed": False})
    asked = what_is_asked(going(plan, incumbents=(0, 1, 2), collapsed=(1,)))
    assert not any(one.perturbed or one.collapsed for one in asked.values())
    assert asked[1].prompt.listed_titles == asked[0].prompt.listed_titles
