"""A small model for a data set: taught on its users, but never on what they are asked about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lab.mini.corpus import laid_out  # noqa: E402
from lab.mini.export import export  # noqa: E402
from lab.mini.in_domain.course import InDomainCourse  # noqa: E402
from lab.mini.in_domain.describing import Chosen, describe  # noqa: E402
from lab.mini.in_domain.meanings import give_meaning  # noqa: E402
from lab.mini.in_domain.shoppers import Shoppers  # noqa: E402
from lab.mini.model import Mini, Shape  # noqa: E402
from lab.mini.tokenizer import END, WHOLE_LINES, MiniTokenizer, rendered  # noqa: E402
from lab.mini.training import OtherCourse, Progress, Run, Trainer  # noqa: E402
from services.demonstrations.guards import check  # noqa: E402
from services.errors import ConfigurationError  # noqa: E402
from services.llm.card import read_card  # noqa: E402
from services.prompts import (  # noqa: E402
    Demonstrated,
    Mode,
    PromptFormat,
    PromptRequest,
    compose,
)
from services.prompts.labels import LABELS  # noqa: E402
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
        own = [f"i{n}" for n in range(user // 2 % 4, ITEMS, 4)]
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
    return InDomainCourse(
        shoppers, tmp_path_factory.mktemp("taught"), tokens=1_000, watched_users=2
    )


def texts(course: InDomainCourse, *stages: str) -> list[str]:
    """Of three steps of each stage, whatever pads them left out."""
    rng = np.random.default_rng(1)
    shown = []
    for stage in stages:
        steps = course.steps(Progress(stage=stage), rng)
        rows = [row for _ in range(3) for batch in next(steps) for row in batch.ids.tolist()]
        shown += [course.tokenizer.decode(row).rstrip(END) for row in rows]
    return shown


def test_nobody_who_is_asked_about_is_taught(shoppers: Shoppers) -> None:
    assert len(shoppers.sequences) == USERS - 2


def test_nobodys_two_newest_items_are_in_an_example(course: InDomainCourse) -> None:
    shown = "\n".join(texts(course, "language", "prompts"))
    assert "Star Racer" in shown
    assert "Zanzibar" not in shown
    assert "Yggdrasil" not in shown


def test_histories_demonstrations_and_their_writing_are_taught(course: InDomainCourse) -> None:
    shown = texts(course, "prompts")
    assert any("Preference:" in text and "Chosen so far" in text for text in shown)
    assert any("Another view of this user:" in text for text in shown)
    assert any('{"preference":' in text for text in shown)
    assert any("Others with these choices also chose:" in text for text in shown)


def test_first_lives_are_taught_in_few_words(course: InDomainCourse) -> None:
    assert not any("Chosen so far" in text for text in texts(course, "language"))
    progress = Progress(tokens=249)
    assert not course.advance(progress)
    progress.tokens = 250
    assert course.advance(progress)
    assert progress.stage == "prompts"
    assert not course.advance(progress)


def test_every_item_of_a_life_is_predicted(course: InDomainCourse, shoppers: Shoppers) -> None:
    items = shoppers.sequences[0]
    life = course.life(items)
    predicted = [life.ids[place + 1] for place in life.next_places]
    text = course.tokenizer.decode(predicted)
    assert all(shoppers.titles[item] in text for item in items)


def test_a_title_is_one_token_wherever_it_stands(
    course: InDomainCourse, shoppers: Shoppers
) -> None:
    tokenizer = course.tokenizer
    names = list(shoppers.names)
    assert set(names) == set(shoppers.titles.values())
    for name in names:
        for text in (name, f" {name}", f"- {name}\n", f'["{name}", 1]', f"Like {name}, or {name}."):
            assert tokenizer.id(name) in tokenizer.encode(text)
            assert len(tokenizer.encode(f"\n- {name}")) == 2
            assert tokenizer.decode(tokenizer.encode(text)) == text
    longer = f"{names[0]}s"
    assert tokenizer.id(names[0]) not in tokenizer.encode(longer)
    assert tokenizer.decode(tokenizer.encode(longer)) == longer


def test_a_byte_level_tokenizer_has_no_name_that_it_would_garble(shoppers: Shoppers) -> None:
    titles = dict(shoppers.titles, i0="Okami", i1="Pokémon", i2="Go", i3="Pokémon Gold")
    names = replace(shoppers, titles=titles).names
    assert {"Okami", "Pokémon Gold"} <= set(names)
    assert not {"Pokémon", "Go"} & set(names)
    tokenizer = MiniTokenizer.trained_on(["a word", "a word"], 300, WHOLE_LINES, names)
    for title in titles.values():
        assert tokenizer.decode(tokenizer.encode(f"- {title}.")) == f"- {title}."


def test_titles_of_one_series_or_chosen_together_begin_beside_each_other() -> None:
    torch.manual_seed(0)
    others = [f"Word{n} Other{n}" for n in range(40)]
    titles = ["Halo 3", "Halo Wars", "Wii Play", "Sofa", "?!", "Lamp", *others]
    lives = [["Wii Play", "Sofa", "Lamp", "unknown"], ["Sofa", "Lamp", "Wii Play"]] * 3
    lives += [list(pair) for pair in pairwise(others)]
    noise = torch.randn(len(titles), 512)
    table = noise.clone()
    give_meaning(table, {title: row for row, title in enumerate(titles)}, lives)
    alike = torch.nn.functional.cosine_similarity(table[:, None], table[None], dim=-1)
    assert alike[0, 1] > 0.2
    assert alike[2, 3] > 0.2
    assert max(abs(alike[0, 2]), abs(alike[0, 3]), abs(alike[2, 6])) < 0.15
    assert torch.allclose(table.norm(dim=-1), noise.norm(dim=-1))
    assert torch.allclose(table[4], noise[4])  # chosen with nothing, and of no words


def test_titles_begin_beside_what_taught_users_chose_with_them(
    course: InDomainCourse, shoppers: Shoppers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is told by what is held out of the training."""
    lived: list[Sequence[str]] = []

    def listening(table: Tensor, named: Mapping[str, int], lives: Iterable[Sequence[str]]) -> None:
        lived.extend(lives)
        give_meaning(table, named, lived)

    monkeypatch.setattr("lab.mini.in_domain.course.give_meaning", listening)
    torch.manual_seed(0)
    model = Mini(Shape(len(course.tokenizer), width=64, layers=1, heads=2, inner=64))
    course.prepare(model)
    table = torch.nn.functional.normalize(model.embed_tokens.detach(), dim=-1)
    rows = {item: table[course.tokenizer.id(shoppers.titles[item])] for item in shoppers.titles}
    same = np.mean([float(rows["i0"] @ rows[f"i{n}"]) for n in range(4, ITEMS, 4)])
    other = np.mean([float(rows["i0"] @ rows[f"i{n}"]) for n in range(1, ITEMS, 4)])
    assert same > other + 0.2
    assert len(lived) == len(shoppers.sequences)
    assert not {"Zanzibar Unseen", "Yggdrasil Unheard"} & {
        title for life in lived for title in life
    }


def test_a_prompts_tokens_are_those_of_its_lines(
    course: InDomainCourse, shoppers: Shoppers
) -> None:
    tokenizer = course.tokenizer
    titles = tuple(shoppers.titles.values())
    named = f"Preference: likes {titles[3]}; or {titles[4]}s.\nEvidence: {titles[5]}"
    for demonstrated in (None, Demonstrated(named), Demonstrated(named, f"Likes {titles[6]}.")):
        request = PromptRequest(
            (*titles[:5], "Not a Title — «new»"), titles[5:9], demonstrated=demonstrated
        )
        prompt = compose(PromptFormat(mode=Mode.LIKELIHOOD), request, tokenizer.count)
        whole = tokenizer.encode(rendered(prompt.chat()))
        assert laid_out(tokenizer, prompt)[0] == tokenizer.chat(prompt.chat()) == whole
        for title in prompt.titles:
            answer = tokenizer.encode(prompt.continued(title))
            assert tokenizer.encode(rendered(prompt.chat()) + prompt.continued(title)) == [
                *whole, *answer,
            ]  # fmt: skip
            assert len(answer) <= 2


def test_how_far_it_is_is_told_by_what_is_taught(course: InDomainCourse) -> None:
    torch.manual_seed(0)
    model = Mini(Shape(len(course.tokenizer), width=64, layers=1, heads=2, inner=64))
    course.prepare(model)
    for stage, name in (("language", "likelihood@5.brief"), ("prompts", "likelihood@5.zero_shot")):
        (told,) = course.watched(model, Progress(stage=stage), model).items()
        assert told[0] == name
        assert 0 <= told[1] <= 1


def test_labels_are_tokens_of_their_own(course: InDomainCourse) -> None:
    """After a lead, behind a title, and below each other: so lists of them can be written."""
    tokenizer = course.tokenizer
    for label in LABELS:
        behind, alone = tokenizer.labels[label], tokenizer.leading_labels[label]
        assert tokenizer.encode(f"Next: {label}")[-1] == behind
        assert tokenizer.encode(f"- Star Racer Part 0 - Console | {label}")[-1] == behind
        assert tokenizer.encode(f"{label}\n{label}")[::2] == [alone, alone]


def test_neighbors_are_counted_without_the_user(shoppers: Shoppers) -> None:
    """Of two users who alone share an odd item, each is a neighbor's evidence for the other only
    if they are of different halves."""
    lives = [("a", "b")] * 4 + [("odd", "x"), ("odd", "y")]
    few = replace(shoppers, sequences=lives)
    assert few.beside(4, ("odd",), 3) == ["y"]
    assert few.beside(5, ("odd",), 3) == ["x"]


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


def test_what_others_chose_is_named_but_never_as_the_users_own(shoppers: Shoppers) -> None:
    rng = np.random.default_rng(3)
    chosen = [Chosen("Own One", ("Own",)), Chosen("Own Two", ("Own",))]
    beside = [Chosen("Theirs One", ("Theirs",)), Chosen("Theirs Two", ("Theirs",))]
    written = [describe(chosen, rng, beside) for _ in range(30)]
    assert any("Theirs One" in one.suggestion for one in written)
    assert not any("Theirs" in name for one in written for name in one.named_items)
    assert all("Own" in one.preference for one in written)


def test_a_folder_without_a_validation_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("items.tsv", "sequences.tsv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ConfigurationError, match=r"valid-\*\.jsonl"):
        Shoppers.of(tmp_path)


def test_it_trains_and_its_card_says_what_it_is(shoppers: Shoppers, tmp_path: Path) -> None:
    run = Run(tmp_path, tokens=8_000, width=64, layers=1, compiled=False)
    trainer = Trainer(run, InDomainCourse(shoppers, tmp_path, 8_000, watched_users=2))
    trainer.train()
    export(tmp_path, tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert card is not None
    assert card.name == "in-domain LM"
    assert "--data DIR" in card.training.command
    assert card.training.tokens >= 8_000
    others = replace(shoppers, digest="of other files")
    with pytest.raises(OtherCourse, match="new folder"):
        Trainer(run, InDomainCourse(others, tmp_path, 8_000)).resume()
    retitled = replace(shoppers, titles=dict(shoppers.titles, i0="A New Title"))
    with pytest.raises(OtherCourse, match="new folder"):
        InDomainCourse(retitled, tmp_path, 8_000)
