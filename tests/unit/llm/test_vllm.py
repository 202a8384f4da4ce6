"""The adapter over its wire format: what it sends, and what it makes of every fault."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from services.llm.ability import Ability, Outcome
from services.llm.breaker import BreakerPolicy
from services.llm.chat import Chat, Message
from services.llm.errors import (
    AbilityMissing,
    CircuitOpen,
    ContextOverflow,
    Flaw,
    MalformedAnswer,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnavailable,
    ServerFailed,
    WrongModel,
)
from services.llm.labels import find_labels
from services.llm.measured import MeasuredModel
from services.llm.port import (
    GenerationRequest,
    JsonSchema,
    LabelSource,
    Priority,
    Sampling,
    Terms,
)
from services.llm.scripted import Fault, Script, ScriptedModel
from services.llm.scripted_server import Received, ScriptedServer
from services.llm.wire import BATCH
from services.llm.wire import CHAT as CHAT_PATH
from services.observability.metrics import Metrics
from tests.unit.llm.conftest import CHAT, LABELS, Opened

TERMS = Terms.within(86_400)  # later than any run of the tests
LIST = JsonSchema(
    {
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"enum": ["SR", "CV", "LL"]}}},
    }
)


def asked(server: ScriptedServer) -> list[Received]:
    return [one for one in server.received if one.path in (CHAT_PATH, BATCH)]


async def test_a_batch_of_permutations_is_one_request_for_one_token_each(opened: Opened) -> None:
    server = ScriptedServer()
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, LABELS, TERMS)
        for chats in ([CHAT], [CHAT] * 4):
            server.received.clear()
            scores = await model.score_labels(chats, labels, TERMS)
            (request,) = server.received
            assert request.body["max_tokens"] == 1
            assert request.body["logprob_token_ids"] == list(labels.token_ids or ())
            assert len(scores.rows) == scores.usage.completion == len(chats)


async def test_nothing_of_the_servers_sampling_defaults_bends_log_probs(opened: Opened) -> None:
    server = ScriptedServer()
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, LABELS, TERMS)
        await model.score_labels([CHAT], labels, TERMS)
    body = asked(server)[-1].body
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1}
    assert {name: body[name] for name in neutral} == neutral


async def test_the_lead_is_continued_and_thinking_is_switched_off(opened: Opened) -> None:
    server = ScriptedServer()
    async with opened(server) as model:
        await model.generate([GenerationRequest(CHAT, Sampling(4))], TERMS)
        await model.generate([GenerationRequest(replace(CHAT, lead=""), Sampling(4))], TERMS)
    led, plain = (one.body for one in asked(server)[-2:])
    assert led["messages"][-1] == {"role": "assistant", "content": "Next:"}
    assert led["continue_final_message"] is True
    assert led["add_generation_prompt"] is False
    assert "continue_final_message" not in plain
    assert (
        led["chat_template_kwargs"] == plain["chat_template_kwargs"] == {"enable_thinking": False}
    )


async def test_live_traffic_goes_before_rounds_on_the_server_too(opened: Opened) -> None:
    server = ScriptedServer()
    request = GenerationRequest(CHAT, Sampling(4))
    async with opened(server) as model:
        await model.generate([request], TERMS)
        await model.generate([request], Terms(TERMS.deadline, Priority.ROUND))
    live, round_ = (one.body.get("priority", 0) for one in asked(server)[-2:])
    assert live < round_


async def test_the_better_candidate_scores_higher_in_every_way_of_asking(opened: Opened) -> None:
    server = ScriptedServer()
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, LABELS, TERMS)
        over_http = await model.score_labels([CHAT], labels, TERMS)
        written = await model.generate([GenerationRequest(CHAT, Sampling(99), LIST)], TERMS)
    in_process = await ScriptedModel().score_labels([CHAT], labels, TERMS)
    assert over_http.rows == in_process.rows
    tea = over_http.rows[0].logprobs[1]
    assert tea == max(over_http.rows[0].logprobs)
    assert written[0].text.startswith('{"list": ["CV"')


GARBAGE = {
    Fault.TRUNCATED: Flaw.NOT_JSON,
    Fault.NAN: Flaw.NOT_FINITE,
    Fault.MISSING_LABELS: Flaw.MISSING_LABELS,
    Fault.DUPLICATE_LABELS: Flaw.DUPLICATE_LABELS,
    Fault.LABELS_IGNORED: Flaw.MISSING_LABELS,
}
FAULTS: dict[Fault, type[ModelError] | None] = {
    Fault.SLOW: ModelTimeout,
    Fault.HANG: ModelTimeout,
    Fault.RESET: ModelUnavailable,
    Fault.OVERLOADED: ModelOverloaded,
    Fault.UNAVAILABLE: ModelOverloaded,
    Fault.FAILED: ServerFailed,
    Fault.WRONG_MODEL: WrongModel,
    Fault.CONTEXT_OVERFLOW: ContextOverflow,
    Fault.EXTRA_LABELS: None,
    **dict.fromkeys(GARBAGE, MalformedAnswer),
}


def test_every_fault_is_tried() -> None:
    assert set(FAULTS) == set(Fault)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("engine", ["over http", "in process"])
async def test_every_fault_becomes_its_error_within_the_deadline(
    opened: Opened, fault: Fault, engine: str
) -> None:
    server = ScriptedServer()
    async with opened(server) as over_http:
        labels = await find_labels(over_http, CHAT, LABELS, TERMS)
        model = over_http if engine == "over http" else ScriptedModel(server.script)
        (healthy,) = (await model.score_labels([CHAT], labels, TERMS)).rows
        server.faults.begin(fault)
        error = FAULTS[fault]
        started = time.monotonic()
        if error is None:
            scores = await model.score_labels([CHAT], labels, Terms.within(0.3))
            assert scores.rows == (healthy,)
        else:
            with pytest.raises(error) as caught:
                await model.score_labels([CHAT], labels, Terms.within(0.3))
            if isinstance(caught.value, MalformedAnswer):
                assert caught.value.flaw is GARBAGE[fault]
        assert time.monotonic() - started < 0.4
        server.faults.recover()
        assert (await model.score_labels([CHAT], labels, TERMS)).rows == (healthy,)


@pytest.mark.parametrize(
    ("fault", "written"),
    [
        (Fault.MISSING_LABELS, '{"list": ["CV"]}'),
        (Fault.DUPLICATE_LABELS, '{"list": ["CV", "LL", "SR", "CV"]}'),
        (Fault.EXTRA_LABELS, '{"list": ["CV", "LL", "SR", "nowhere to be found"]}'),
    ],
)
async def test_written_lists_have_the_faults_of_lists(
    opened: Opened, fault: Fault, written: str
) -> None:
    server = ScriptedServer(Script(preference=lambda _, option: {"CV": 3, "LL": 2}.get(option, 0)))
    async with opened(server) as model:
        await model.describe(TERMS)
        server.faults.begin(fault)
        (generated,) = await model.generate([GenerationRequest(CHAT, Sampling(99), LIST)], TERMS)
    assert generated.text == written


async def test_one_failure_fails_the_batch_and_leaves_nothing_behind(opened: Opened) -> None:
    server = ScriptedServer()
    async with opened(server) as model:
        await model.describe(TERMS)
        too_long = Chat((Message("user", "word " * 9000),))
        requests = [GenerationRequest(chat, Sampling(4)) for chat in (CHAT, too_long, CHAT)]
        before = asyncio.all_tasks()
        with pytest.raises(ContextOverflow):
            await model.generate(requests, TERMS)
        assert asyncio.all_tasks() == before


async def test_a_server_that_is_down_at_first_is_probed_when_it_is_up(opened: Opened) -> None:
    server = ScriptedServer()
    server.faults.begin(Fault.RESET)
    async with opened(server) as model:
        with pytest.raises(ModelUnavailable):
            await model.describe(TERMS)
        server.faults.recover()
        assert (await model.describe(TERMS)).capabilities.labels is LabelSource.EXACT


async def test_many_first_calls_wait_for_one_probe_each_to_its_own_deadline(
    opened: Opened,
) -> None:
    server = ScriptedServer()
    server.faults.slow_seconds = 0.1
    server.faults.begin(Fault.SLOW, times=2)
    async with opened(server) as model:
        patient = [asyncio.create_task(model.describe(TERMS)) for _ in range(5)]
        with pytest.raises(ModelTimeout):
            await model.describe(Terms.within(0.05))
        await asyncio.gather(*patient)
    assert [one.path for one in server.received].count("/v1/models") == 1


async def test_another_server_behind_the_address_is_probed_anew(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.llm.vllm.PROBE_AGAIN_SECONDS", 0)
    server = ScriptedServer()
    async with opened(server) as model:
        before = (await model.describe(TERMS)).fingerprint
        server.version = "2"
        await model.generate([GenerationRequest(CHAT, Sampling(4))], TERMS)
        async with asyncio.timeout(5):
            while (await model.describe(TERMS)).fingerprint == before:
                await asyncio.sleep(0.01)
        assert (await model.describe(TERMS)).fingerprint.version == "2"


async def test_after_an_outage_the_server_is_probed_anew(opened: Opened) -> None:
    server = ScriptedServer()
    # Open for longer than a slow machine needs to ask again.
    policy = BreakerPolicy(failures=1, open_seconds=0.5)
    async with opened(server, breaker=policy) as model:
        await model.describe(TERMS)
        server.faults.begin(Fault.FAILED, times=1)
        request = GenerationRequest(CHAT, Sampling(4))
        with pytest.raises(ServerFailed):
            await model.generate([request], TERMS)
        with pytest.raises(CircuitOpen):
            await model.generate([request], TERMS)
        await asyncio.sleep(0.55)
        server.version = "2"
        await model.generate([request], TERMS)
        async with asyncio.timeout(5):
            while (await model.describe(TERMS)).fingerprint.version != "2":
                await asyncio.sleep(0.01)


async def test_without_batches_permutations_are_single_requests_at_once(opened: Opened) -> None:
    server = ScriptedServer(abilities={Ability.BATCH: Outcome.REFUSED})
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, LABELS, TERMS)
        server.received.clear()
        scores = await model.score_labels([CHAT] * 3, labels, TERMS)
    assert [one.path for one in server.received] == [CHAT_PATH] * 3
    assert scores.usage.completion == 3
    assert scores.usage.cached is not None


async def test_top_log_probs_say_which_labels_they_know(opened: Opened) -> None:
    server = ScriptedServer(abilities={Ability.LABEL_LOGPROBS: Outcome.IGNORED}, top_logprobs=5)
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, (*LABELS, " ZZ"), TERMS)
        scores = await model.score_labels([CHAT], labels, TERMS)
    (row,) = scores.rows
    assert scores.source is LabelSource.TOP
    assert row.unseen
    assert 3 in row.unseen
    seen = [value for place, value in enumerate(row.logprobs) if place not in row.unseen]
    assert all(row.logprobs[place] <= min(seen) for place in row.unseen)


async def test_labels_that_nobody_saw_are_no_scores(opened: Opened) -> None:
    server = ScriptedServer(abilities={Ability.LABEL_LOGPROBS: Outcome.IGNORED}, top_logprobs=5)
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, (" ZZ", " YY"), TERMS)
        with pytest.raises(MalformedAnswer) as caught:
            await model.score_labels([CHAT], labels, TERMS)
    assert caught.value.flaw is Flaw.MISSING_LABELS


async def test_without_a_tokenizer_labels_are_found_by_their_text(opened: Opened) -> None:
    abilities = {Ability.TOKENIZE: Outcome.REFUSED}
    server = ScriptedServer(abilities=abilities)
    async with opened(server) as model:
        labels = await find_labels(model, CHAT, LABELS, TERMS)
        assert labels.token_ids is None
        scores = await model.score_labels([CHAT], labels, TERMS)
        assert scores.source is LabelSource.TOP
        (row,) = scores.rows
        assert 1 not in row.unseen
        assert row.logprobs[1] == max(row.logprobs)
        with pytest.raises(AbilityMissing):
            await model.tokenize(CHAT, TERMS)


async def test_without_log_probs_or_prefill_the_caller_is_told(opened: Opened) -> None:
    abilities = dict.fromkeys(
        (Ability.LABEL_LOGPROBS, Ability.TOP_LOGPROBS, Ability.PREFILL), Outcome.IGNORED
    )
    server = ScriptedServer(abilities=abilities)
    plain = replace(CHAT, lead="")
    async with opened(server) as model:
        labels = await find_labels(model, plain, [label.strip() for label in LABELS], TERMS)
        with pytest.raises(AbilityMissing) as no_labels:
            await model.score_labels([plain], labels, TERMS)
        assert no_labels.value.ability is Ability.LABEL_LOGPROBS
        with pytest.raises(AbilityMissing) as no_lead:
            await model.generate([GenerationRequest(CHAT, Sampling(4))], TERMS)
        assert no_lead.value.ability is Ability.PREFILL


async def test_calls_tokens_and_flaws_are_counted(opened: Opened, metrics: Metrics) -> None:
    server = ScriptedServer()
    async with opened(server) as plain:
        model = MeasuredModel(plain, metrics)
        labels = await find_labels(model, CHAT, LABELS, TERMS)
        usage = (await model.score_labels([CHAT], labels, TERMS)).usage
        server.faults.begin(Fault.NAN)
        with pytest.raises(MalformedAnswer):
            await model.score_labels([CHAT], labels, TERMS)
    exposed = metrics.render().decode()
    for line in (
        'lrgd_llm_calls_total{kind="labels",outcome="ok"} 1.0',
        'lrgd_llm_calls_total{kind="labels",outcome="malformed"} 1.0',
        'lrgd_llm_malformed_total{flaw="not_finite",kind="labels"} 1.0',
        f'lrgd_llm_tokens_total{{kind="labels",part="prompt"}} {usage.prompt:.1f}',
        'lrgd_llm_tokens_total{kind="labels",part="completion"} 1.0',
        'lrgd_llm_ability{ability="label_logprobs"} 1.0',
        'lrgd_llm_ability{ability="regex"} 0.0',
        "lrgd_llm_in_flight 0.0",
    ):
        assert line in exposed
