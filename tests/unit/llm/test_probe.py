from __future__ import annotations

import pytest

from services.llm.ability import COST, Ability, Outcome
from services.llm.errors import WrongModel
from services.llm.port import Capabilities, LabelSource, Terms
from services.llm.scripted import Script
from services.llm.scripted_server import ScriptedServer
from tests.unit.llm.conftest import Opened

TERMS = Terms.within(86_400)  # later than any run of the tests
PROBED = [
    Ability.LABEL_LOGPROBS,
    Ability.CHOICE,
    Ability.JSON_SCHEMA,
    Ability.PREFILL,
    Ability.CACHED_TOKENS,
    Ability.TOP_LOGPROBS,
]


async def found(opened: Opened, server: ScriptedServer) -> Capabilities:
    async with opened(server) as model:
        return (await model.describe(TERMS)).capabilities


def outcome(capabilities: Capabilities, ability: Ability) -> Outcome:
    (seen,) = (seen for seen in capabilities.observations if seen.ability is ability)
    assert bool(seen.cost) is (seen.outcome is not Outcome.HONORED)
    return seen.outcome


@pytest.mark.parametrize("ability", PROBED)
async def test_ignored_is_told_from_honored(opened: Opened, ability: Ability) -> None:
    assert outcome(await found(opened, ScriptedServer()), ability) is Outcome.HONORED
    lacking = ScriptedServer(abilities={ability: Outcome.IGNORED})
    assert outcome(await found(opened, lacking), ability) is Outcome.IGNORED


@pytest.mark.parametrize(
    "ability",
    [
        Ability.LABEL_LOGPROBS,
        Ability.TOP_LOGPROBS,
        Ability.CHOICE,
        Ability.JSON_SCHEMA,
        Ability.REGEX,
        Ability.PREFILL,
        Ability.TOKENIZE,
        Ability.BATCH,
        Ability.PRIORITY,
    ],
)
async def test_refused_is_told_with_the_servers_reason(opened: Opened, ability: Ability) -> None:
    capabilities = await found(opened, ScriptedServer(abilities={ability: Outcome.REFUSED}))
    (seen,) = (seen for seen in capabilities.observations if seen.ability is ability)
    assert seen.outcome is Outcome.REFUSED
    assert ability.value in seen.detail
    assert seen.cost == COST[ability]


@pytest.mark.parametrize(
    ("lacking", "source"),
    [
        ((), LabelSource.EXACT),
        ((Ability.LABEL_LOGPROBS,), LabelSource.TOP),
        ((Ability.TOKENIZE,), LabelSource.TOP),
        ((Ability.LABEL_LOGPROBS, Ability.TOP_LOGPROBS), LabelSource.NONE),
    ],
)
async def test_the_next_best_source_of_label_scores_is_chosen(
    opened: Opened, lacking: tuple[Ability, ...], source: LabelSource
) -> None:
    server = ScriptedServer(abilities=dict.fromkeys(lacking, Outcome.REFUSED))
    assert (await found(opened, server)).labels is source


async def test_every_ability_is_reported_once_with_a_cost(opened: Opened) -> None:
    capabilities = await found(opened, ScriptedServer())
    assert sorted(seen.ability for seen in capabilities.observations) == sorted(Ability)
    assert set(COST) == set(Ability)


async def test_an_accepted_priority_is_sent_but_not_believed(opened: Opened) -> None:
    assert outcome(await found(opened, ScriptedServer()), Ability.PRIORITY) is Outcome.UNTESTED


async def test_json_that_never_ends_for_white_space_is_told_from_free_text(
    opened: Opened,
) -> None:
    def written(text: str) -> ScriptedServer:
        return ScriptedServer(Script(writer=lambda _: text))

    padded = await found(opened, written('{\n\n "qzx": \t "q7"' + "\n" * 40))
    assert outcome(padded, Ability.JSON_SCHEMA) is Outcome.HONORED
    (seen,) = (one for one in padded.observations if one.ability is Ability.JSON_SCHEMA)
    assert "disable_any_whitespace" in seen.detail
    free = await found(opened, written('{"hello": "you"}'))
    assert outcome(free, Ability.JSON_SCHEMA) is Outcome.IGNORED


async def test_a_template_without_a_switch_is_not_sent_one(opened: Opened) -> None:
    server = ScriptedServer(abilities={Ability.THINKING_SWITCH: Outcome.IGNORED})
    assert outcome(await found(opened, server), Ability.THINKING_SWITCH) is Outcome.IGNORED


async def test_another_model_stops_the_probe_and_is_named(opened: Opened) -> None:
    with pytest.raises(WrongModel, match="LRGD_LLM_MODEL"):
        await found(opened, ScriptedServer(Script(model="another")))


async def test_the_fingerprint_knows_the_tokenizer_and_the_version(opened: Opened) -> None:
    digests = set()
    for server in (ScriptedServer(), ScriptedServer(), ScriptedServer(version="2")):
        async with opened(server) as model:
            digests.add((await model.describe(TERMS)).fingerprint.digest)
    assert len(digests) == 2
