"""What every engine promises. A new adapter is one more engine of `conftest.py`."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from services.llm.ability import Ability
from services.llm.chat import Chat, Message
from services.llm.errors import (
    AbilityMissing,
    ContextOverflow,
    LabelsUnfit,
    ModelTimeout,
)
from services.llm.labels import find_labels
from services.llm.port import (
    Choice,
    Constraint,
    Finish,
    GenerationRequest,
    JsonSchema,
    Labels,
    LabelSource,
    Priority,
    Regex,
    Sampling,
    Terms,
)
from tests.integration.llm.conftest import CONTEXT_TOKENS, Bench


def terms(priority: Priority = Priority.LIVE) -> Terms:
    return Terms.within(60, priority)


def asking(what: str, lead: str = "Next:") -> Chat:
    return Chat((Message("system", "Rank."), Message("user", what)), lead)


TEA = asking("- green tea\n- black tea\nWhat comes next?")
COFFEE = asking("- espresso\n- filter coffee\n- mocha\nWhat comes next?")


async def labels_of(bench: Bench, count: int = 8) -> Labels:
    return (await find_labels(bench.model, TEA, bench.labels, terms())).first(count)


async def test_it_says_what_it_is(bench: Bench) -> None:
    engine = await bench.model.describe(terms())
    assert engine.fingerprint.model
    assert engine.fingerprint.version
    assert re.fullmatch("[0-9a-f]{16}", engine.fingerprint.digest)
    assert engine == await bench.model.describe(terms())
    assert engine.capabilities.context_tokens == CONTEXT_TOKENS
    assert engine.capabilities.labels is LabelSource.EXACT
    assert engine.capabilities.max_labels == 128


async def test_a_chat_is_tokenized_up_to_where_the_answer_begins(bench: Bench) -> None:
    without = await bench.model.tokenize(replace(TEA, lead=""), terms())
    with_lead = await bench.model.tokenize(TEA, terms())
    lead = await bench.model.tokenize("Next:", terms())
    assert with_lead == without + lead
    assert await bench.model.count(TEA, terms()) == len(with_lead)


async def test_128_labels_are_one_token_each(bench: Bench) -> None:
    labels = await find_labels(bench.model, TEA, bench.labels, terms(), at_least=128)
    assert labels.texts == bench.labels
    assert labels.token_ids is not None
    assert len(set(labels.token_ids)) == 128


async def test_labels_of_several_tokens_are_left_out_or_refused(bench: Bench) -> None:
    texts = ["one two three", *bench.labels[:2], "four, five"]
    assert (await find_labels(bench.model, TEA, texts, terms())).texts == bench.labels[:2]
    with pytest.raises(LabelsUnfit, match="one two three"):
        await find_labels(bench.model, TEA, texts, terms(), at_least=3)


async def test_labels_are_scored_by_one_token_for_each_prompt(bench: Bench) -> None:
    labels = await labels_of(bench)
    scores = await bench.model.score_labels([TEA, COFFEE, TEA], labels, terms())
    assert scores.source is LabelSource.EXACT
    assert [len(row.logprobs) for row in scores.rows] == [8, 8, 8]
    assert all(math.isfinite(value) and value <= 0 for value in scores.rows[0].logprobs)
    assert not any(row.unseen for row in scores.rows)
    assert scores.rows[0] == scores.rows[2]
    assert scores.rows[0] != scores.rows[1]
    assert scores.usage.completion == 3
    counts = [await bench.model.count(chat, terms()) for chat in (TEA, COFFEE, TEA)]
    assert scores.usage.prompt == sum(counts)


async def test_a_score_depends_on_its_prompt_and_label_alone(bench: Bench) -> None:
    labels = await labels_of(bench, 128)
    (everything,) = (await bench.model.score_labels([TEA], labels, terms())).rows
    few = labels.first(5)
    alone = await bench.model.score_labels([TEA], few, terms())
    in_a_batch = await bench.model.score_labels([COFFEE, TEA], few, terms(Priority.ROUND))
    assert alone.rows[0].logprobs == pytest.approx(everything.logprobs[:5], abs=1e-3)
    assert in_a_batch.rows[1].logprobs == pytest.approx(everything.logprobs[:5], abs=1e-3)


async def test_the_lead_is_part_of_the_prompt(bench: Bench) -> None:
    labels = await labels_of(bench)
    otherwise = replace(TEA, lead="I do not know, but:")
    rows = (await bench.model.score_labels([TEA, otherwise], labels, terms())).rows
    assert rows[0] != rows[1]


async def test_more_than_128_labels_are_refused(bench: Bench) -> None:
    labels = await labels_of(bench, 128)
    assert labels.token_ids is not None
    too_many = Labels((*labels.texts, "?"), (*labels.token_ids, labels.token_ids[0] + 1))
    with pytest.raises(AbilityMissing):
        await bench.model.score_labels([TEA], too_many, terms())


async def test_titles_are_scored_with_their_end_or_not_at_all(bench: Bench) -> None:
    engine = await bench.model.describe(terms())
    titles = ["green tea", "white coffee", "white tea with lemon"]
    if not engine.capabilities.has(Ability.TITLE_LIKELIHOOD):
        with pytest.raises(AbilityMissing):
            await bench.model.score_titles(TEA, titles, terms())
        return
    scores = (await bench.model.score_titles(TEA, titles, terms(), end="\n")).scores
    assert all(math.isfinite(score.logprob) and score.logprob < 0 for score in scores)
    assert scores[2].tokens > scores[0].tokens > 1
    (alone,) = (await bench.model.score_titles(TEA, titles[1:2], terms(), end="\n")).scores
    assert alone.logprob == pytest.approx(scores[1].logprob, abs=1e-3)


async def test_temperature_0_always_writes_the_same(bench: Bench) -> None:
    request = GenerationRequest(TEA, Sampling(max_tokens=12))
    first, second = await bench.model.generate([request, request], terms())
    assert first.text == second.text
    assert first.text


async def test_a_seed_repeats_a_sample_and_another_seed_does_not(bench: Bench) -> None:
    def sampled(seed: int) -> GenerationRequest:
        return GenerationRequest(TEA, Sampling(max_tokens=12, temperature=1.0, seed=seed))

    first, again, *others = await bench.model.generate(
        [sampled(seed) for seed in (1, 1, 2, 3, 4)], terms(Priority.ROUND)
    )
    assert first.text == again.text
    assert {other.text for other in others} != {first.text}


async def test_writing_ends_at_its_bound(bench: Bench) -> None:
    (cut,) = await bench.model.generate([GenerationRequest(TEA, Sampling(max_tokens=1))], terms())
    assert cut.finish is Finish.LENGTH
    assert cut.usage.completion == 1
    assert not cut.constrained


async def test_writing_stops_before_a_stop_text(bench: Bench) -> None:
    (free,) = await bench.model.generate([GenerationRequest(TEA, Sampling(max_tokens=12))], terms())
    stop = next(letter for letter in free.text[1:] if letter.isalnum() or letter in "[]")
    request = GenerationRequest(TEA, Sampling(max_tokens=12, stop=(stop,)))
    (stopped,) = await bench.model.generate([request], terms())
    assert stopped.text == free.text.partition(stop)[0]


CONSTRAINTS: list[Constraint] = [
    Choice(("black tea", "white tea")),
    Regex("(AB|CD)-[0-9]{3}"),
    JsonSchema(
        {
            "type": "object",
            "properties": {
                "best": {"type": "string", "enum": ["SR", "CV"]},
                "all": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["SR", "CV", "LL"]},
                    "minItems": 2,
                    "maxItems": 3,
                },
            },
            "required": ["best", "all"],
            "additionalProperties": False,
        }
    ),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda one: one.ability.value)
async def test_constraints_are_kept_to_or_said_not_to_be(
    bench: Bench, constraint: Constraint
) -> None:
    engine = await bench.model.describe(terms())
    request = GenerationRequest(TEA, Sampling(max_tokens=60, temperature=0.7, seed=5), constraint)
    (written,) = await bench.model.generate([request], terms())
    assert written.constrained is engine.capabilities.has(constraint.ability)
    if not written.constrained:
        return
    match constraint:
        case Choice(options):
            assert written.text in options
        case Regex(pattern):
            assert re.fullmatch(pattern, written.text)
        case JsonSchema():
            answer = json.loads(written.text)
            assert answer["best"] in ("SR", "CV")
            assert set(answer["all"]) <= {"SR", "CV", "LL"}


async def test_a_prompt_that_is_too_long_is_named_so(bench: Bench) -> None:
    too_long = asking("word, " * CONTEXT_TOKENS)
    with pytest.raises(ContextOverflow):
        await bench.model.score_labels([too_long], await labels_of(bench), terms())
    with pytest.raises(ContextOverflow):
        await bench.model.generate([GenerationRequest(too_long, Sampling(4))], terms())


async def test_a_call_after_its_deadline_is_not_answered(bench: Bench) -> None:
    labels = await labels_of(bench)
    with pytest.raises(ModelTimeout):
        await bench.model.score_labels([TEA], labels, Terms.within(0))


async def test_a_prefix_seen_before_is_counted_as_cached(bench: Bench) -> None:
    engine = await bench.model.describe(terms())
    assert engine.capabilities.has(Ability.CACHED_TOKENS)
    labels = await labels_of(bench)
    long = asking("- a title, seen before\n" * 20)
    await bench.model.score_labels([long], labels, terms())
    usage = (await bench.model.score_labels([long], labels, terms())).usage
    assert usage.cached is not None
    assert usage.prompt / 2 < usage.cached < usage.prompt
