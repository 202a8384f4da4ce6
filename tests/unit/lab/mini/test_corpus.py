from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from lab.mini.corpus import Corpus, Example, Mix
from lab.mini.moments import Moment
from lab.mini.tokenizer import END
from services.demonstrations.demonstration import Demonstration, parse_demonstration
from services.demonstrations.guards import check
from services.prompts import LABELS
from services.prompts.titles import fold

EVERYTHING = Mix(
    likelihood=0.3, demonstration=0.3, written_list=0.5, other_templates=0.5, perturbed=0.3,
    plain=0.5, most=50,
)  # fmt: skip


def test_all_kinds_of_examples_are_whole(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    for example in islice(corpus.examples(moments, EVERYTHING, rng), 200):
        assert len(example.ids) < 1_024
        assert all(place + 1 < len(example.ids) for place in example.next_places)
        assert all(place < len(example.ids) for place in example.grade_places)
        assert len(example.next_places) == len(example.next_weights)
        assert len(example.grade_places) == len(example.grades) == len(example.grade_weights)
        for odds in example.odds:
            assert np.isclose(odds.shares.sum(), 1)
            assert odds.place < len(example.ids)


def _label_of(corpus: Corpus, example: Example, title: str) -> str:
    text = corpus.tokenizer.decode(example.ids)
    return text.split(f"- {title} | ")[1][:2]


def test_the_best_label_is_that_of_the_best_candidate(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    for moment in islice(moments, 20):
        example = corpus.ranking(moment, Mix(), rng)
        shown = {
            corpus.tokenizer.labels[_label_of(corpus, example, item.title)]: number
            for number, item in enumerate(corpus.shop.catalog.items)
            if f"- {item.title} | " in corpus.tokenizer.decode(example.ids)
        }
        (odds,) = example.odds
        utilities = [moment.utilities[shown[int(token)]] for token in odds.tokens]
        assert int(np.argmax(utilities)) == int(np.argmax(odds.shares))
        assert example.answer is not None
        assert shown[example.answer] == moment.chosen


def test_grades_stand_at_the_lines_of_candidates(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    labels = set(corpus.tokenizer.labels.values())
    for moment in islice(moments, 20):
        example = corpus.ranking(moment, Mix(), rng)
        graded = [example.ids[place] for place in example.grade_places]
        assert sum(token in labels for token in graded) == len(example.odds[0].tokens)
        assert np.isclose(sum(example.grade_weights), 2)


def test_a_written_list_names_every_label_once_and_ends(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    example = corpus.ranking(next(moments), Mix(written_list=1.0), rng)
    answer = corpus.tokenizer.decode(example.ids).rpartition("Next:")[2]
    labels = answer.removesuffix(END).split()
    assert answer.endswith(END)
    assert len(labels) == len(set(labels)) == len(example.odds[0].tokens)
    assert set(labels) <= set(LABELS)


def test_the_title_that_was_chosen_ends_a_likelihood_example(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    moment = next(moments)
    text = corpus.tokenizer.decode(corpus.by_title(moment, Mix(), rng).ids)
    assert text.endswith(f"Next: {corpus.shop.catalog.items[moment.chosen].title}{END}")


def test_taught_demonstrations_pass_the_guards(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    catalog = corpus.shop.catalog
    titles = {fold(item.title) for item in catalog.items}
    for moment in islice(moments, 200):
        _, demonstration = corpus.generator_task(moment, rng)
        assert parse_demonstration(demonstration.as_json()) == demonstration
        known = [catalog.items[int(item)].title for item in moment.past]
        refused = check(
            demonstration, known, limit=160, count=corpus.tokenizer.count,
            is_item=titles.__contains__,
        )  # fmt: skip
        assert refused is None


def test_one_user_is_described_in_many_ways(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    moment = next(moment for moment in moments if len(moment.past) > 15)
    written = {_words(corpus.generator_task(moment, rng)[1]) for _ in range(10)}
    overlaps = [len(a & b) / len(a | b) for a in written for b in written if a is not b]
    assert len(written) == 10
    assert np.mean(overlaps) < 0.8


def _words(demonstration: Demonstration) -> frozenset[str]:
    return frozenset(demonstration.as_text().split())


def test_nothing_of_the_future_is_in_a_prompt(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    catalog = corpus.shop.catalog
    for moment in islice(moments, 100):
        text = corpus.tokenizer.decode(corpus.ranking(moment, Mix(perturbed=0.5), rng).ids)
        before_candidates = text.partition("Candidates,")[0]
        for item in moment.life.items[moment.position :]:
            assert catalog.items[int(item)].title not in before_candidates


def test_brief_prompts_keep_what_differs_between_users(
    corpus: Corpus, moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    moment = next(moment for moment in moments if len(moment.past) > 15)
    mix = Mix(described=1.0, brief=1.0)
    example = corpus.ranking(moment, mix, rng)
    lines = corpus.tokenizer.decode(example.ids).split("\n")
    assert lines[0] == "<|user|>"
    assert lines[1].startswith("Preference: ")
    assert all(line.startswith("- ") for line in lines[2:])
    assert sum(" | " in line for line in lines) == len(example.odds[0].tokens)
