"""A small model for a data set: taught on its users, but never on what they are asked about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lab.mini.export import export  # noqa: E402
from lab.mini.in_domain.course import InDomainCourse  # noqa: E402
from lab.mini.in_domain.describing import Chosen, describe  # noqa: E402
from lab.mini.in_domain.shoppers import Shoppers  # noqa: E402
from lab.mini.training import Progress, Run, Trainer  # noqa: E402
from services.demonstrations.guards import check  # noqa: E402
from services.errors import ConfigurationError  # noqa: E402
from services.llm.card import read_card  # noqa: E402
from services.prompts.titles import fold  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("default")]

ITEMS, USERS = 60, 80
SERIES = ("Star Racer", "Moon Quest", "Iron Kart", "Deep Sea")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody stays with one series; the last two items of all are named apart."""
    to = tmp_path_factory.mktemp("games")
    titles = {f"i{n}": f"{SERIES[n % 4]} Part {n} - Console" for n in range(ITEMS)}
    titles |= {"last": "Zanzibar Unseen", "before": "Yggdrasil Unheard"}
    rng = np.random.default_rng(0)
    sequences = {}
    for user in range(USERS):
        own = [f"i{n}" for n in range(user % 4, ITEMS, 4)]
        taken = rng.permutation(own)[: int(rng.integers(4, 9))].tolist()
        sequences[f"u{user}"] = [*taken, "before", "last"]
    (to / "items.tsv").write_text(
        "item_id\ttitle\n" + "".join(f"{item}\t{title}\n" for item, title in titles.items())
    )
    (to / "sequences.tsv").write_text(
        "user_id\titems\n" + "".join(f"{u}\t{' '.join(i)}\n" for u, i in sequences.items())
    )
    for name, before in (("test-few.jsonl", 1), ("valid-few.jsonl", 2)):
        rows = [
            {
                "user_id": user, "history_length": len(sequences[user]) - before,
                "target": sequences[user][-before],
                "candidates": [sequences[user][-before], *(f"i{n}" for n in range(56, 60))],
            }
            for user in ("u0", "u1")
        ]  # fmt: skip
        (to / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return to


@pytest.fixture(scope="module")
def shoppers(folder: Path) -> Shoppers:
    return Shoppers.of(folder)


@pytest.fixture(scope="module")
def course(shoppers: Shoppers, tmp_path_factory: pytest.TempPathFactory) -> InDomainCourse:
    return InDomainCourse(shoppers, tmp_path_factory.mktemp("taught"), watched_users=2)


def texts(course: InDomainCourse, size: int = 400) -> list[str]:
    examples = course.examples(Progress(), np.random.default_rng(1))
    return [course.tokenizer.decode(next(examples).ids) for _ in range(size)]


def test_nobody_who_is_asked_about_is_taught(shoppers: Shoppers) -> None:
    assert len(shoppers.sequences) == USERS - 2


def test_nobodys_two_newest_items_are_in_an_example(course: InDomainCourse) -> None:
    shown = "\n".join(texts(course))
    assert "Star Racer" in shown
    assert "Zanzibar" not in shown
    assert "Yggdrasil" not in shown


def test_histories_demonstrations_and_their_writing_are_taught(course: InDomainCourse) -> None:
    shown = texts(course)
    assert any("Preference:" in text and "Chosen so far" in text for text in shown)
    assert any('{"preference":' in text for text in shown)
    assert any("Chosen so far" not in text for text in shown)  # brief


def test_terms_are_what_titles_share_and_no_title_itself(shoppers: Shoppers) -> None:
    assert {"Star Racer", "Star", "Racer"} <= set(shoppers.terms["i0"])
    assert "Console" not in shoppers.terms["i0"]  # of nearly all of them
    assert shoppers.terms["last"] == ()


def test_what_is_described_is_true_and_passes_the_guards(shoppers: Shoppers) -> None:
    rng = np.random.default_rng(2)
    for items in shoppers.sequences[:40]:
        chosen = [Chosen(shoppers.titles[item], shoppers.terms[item]) for item in items]
        written = describe(chosen, rng)
        titles = tuple(one.title for one in chosen)
        names = {fold(title) for title in shoppers.titles.values()}
        refused = check(written, titles, limit=400, count=len, is_item=names.__contains__)
        assert refused is None or "tokens" in refused.detail
        place = titles.index(written.example.chose)
        assert set(written.example.after) <= set(titles[:place])


def test_a_folder_without_a_validation_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("items.tsv", "sequences.tsv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ConfigurationError, match=r"valid-\*\.jsonl"):
        Shoppers.of(tmp_path)


def test_it_trains_and_its_card_says_what_it_is(shoppers: Shoppers, tmp_path: Path) -> None:
    run = Run(tmp_path, tokens=8_000, width=64, layers=1, compiled=False)
    trainer = Trainer(run, InDomainCourse(shoppers, tmp_path, watched_users=2))
    trainer.train()
    export(tmp_path, tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert card is not None
    assert card.name == "in-domain LM"
    assert "--data DIR" in card.training.command
    assert card.training.tokens >= 8_000
