"""What a model server honors, ignores and refuses, found by asking and looking at the answer.

A server of another kind, or of another age, accepts fields that it does not know and answers as if
they were not there. So every question here is one whose honest answer is improbable without the
ability.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from services.llm.ability import Ability, Observation, Outcome
from services.llm.chat import Chat, Message
from services.llm.connection import ServerConnection
from services.llm.errors import MalformedAnswer, ModelRefused, ServerFailed, WrongModel
from services.llm.findings import Findings
from services.llm.port import (
    MAX_LABELS,
    Choice,
    Constraint,
    EngineFingerprint,
    JsonSchema,
    Priority,
    Regex,
    Sampling,
    Terms,
)
from services.llm.wire import (
    BATCH,
    CHAT,
    MODELS,
    TOKENIZE,
    VERSION,
    ChatAnswer,
    ConstraintField,
    ModelList,
    ServedModel,
    ServerVersion,
    Tokenized,
    constraint_fields,
    exact_label_fields,
    in_order,
    messages,
    one_token,
    parse,
    parse_answer,
    reported_logprobs,
    sampling_fields,
    token_id,
    top_label_fields,
    turn,
)

UNKNOWN = "unknown"

_HELLO = Chat((Message("user", "Say hello."),))
_LED = Chat(_HELLO.messages, lead="Well then, hello and")
# No vocabulary has fewer tokens, and no position makes all of them probable.
_SOME_IDS = tuple(range(MAX_LABELS))
_TOP = (128, 20, 5, 1)
_SWITCHES = ("enable_thinking", "thinking")
# What nobody would say unasked.
_CHOICE = Choice(("qzx-7", "qzx-8"))
_REGEX = Regex("qz[0-9]{3}")
_JSON = JsonSchema(
    {
        "type": "object",
        "properties": {"qzx": {"type": "string", "enum": ["q7", "q8"]}},
        "required": ["qzx"],
        "additionalProperties": False,
    }
)
_CONSTRAINED_TOKENS = 32
# Longer than a block of the usual prefix caches, shorter than a small context.
_LONG = Chat((Message("user", "The same words once more, please. " * 32),))
_TOKENIZER_SAMPLE = Chat(
    (Message("system", "Ärger, 中文, 🙂\t\n"), Message("user", "1234567890 SR [17] the THE The"))
)


async def probe(server: ServerConnection, terms: Terms) -> Findings:
    """Takes some twenty short requests. Raises ModelError where nothing can be found out."""
    return await _Probe(server, terms).run()


@dataclass(frozen=True)
class _Probe:
    server: ServerConnection
    terms: Terms

    async def run(self) -> Findings:
        card = await self._card()
        version = await self._version()
        first = await self._ask(_HELLO, one_token(temperature=1.0, extended=False))
        if not isinstance(first, ChatAnswer):
            raise ModelRefused(f"the model server refuses the plainest chat: {first}")
        extended = await self._takes(one_token(temperature=1.0, extended=True))
        tokenizer, context, tokenize = await self._tokenizer()
        exact_labels, labels = await self._exact_labels()
        top, by_id, top_seen = await self._top_logprobs()
        constraint_field, constraints = await self._constraints()
        switches, thinking = await self._thinking_switches()
        fingerprint = EngineFingerprint(
            model=card.id,
            weights=self.server.config.weights or _base_name(card.root or card.id),
            tokenizer=tokenizer,
            engine=card.owned_by,
            version=version,
            dtype=self.server.config.dtype or UNKNOWN,
        )
        return Findings(
            fingerprint=fingerprint,
            observations=(
                labels,
                top_seen,
                *constraints,
                await self._prefill(),
                tokenize,
                await self._batch(exact_labels),
                await self._priority(),
                await self._cached_tokens(),
                thinking,
                Observation(Ability.TITLE_LIKELIHOOD, Outcome.UNTESTED, "not over HTTP"),
            ),
            top_logprobs=top,
            tokens_by_id=by_id,
            exact_labels=exact_labels,
            extended_sampling=extended,
            constraint_field=constraint_field,
            thinking_switches=switches,
            context_tokens=card.max_model_len or context,
            system_fingerprint=first.system_fingerprint,
        )

    async def _card(self) -> ServedModel:
        model = self.server.config.model
        served = parse(ModelList, await self.server.get(MODELS, self.terms)).data
        for card in served:
            if card.id == model:
                return card
        others = ", ".join(card.id for card in served[:5]) or "nothing"
        raise WrongModel(
            f"the model server does not serve {model!r} but {others}: see LRGD_LLM_MODEL"
        )

    async def _version(self) -> str:
        try:
            return parse(ServerVersion, await self.server.get(VERSION, self.terms)).version
        except (ModelRefused, ServerFailed, MalformedAnswer):
            return UNKNOWN

    async def _tokenizer(self) -> tuple[str, int | None, Observation]:
        """Its fingerprint covers the chat template: what a sample is rendered to."""
        try:
            sample = await self._tokenize(_TOKENIZER_SAMPLE)
        except (ModelRefused, ServerFailed, MalformedAnswer) as error:
            seen = Observation(Ability.TOKENIZE, Outcome.REFUSED, str(error))
            return UNKNOWN, None, seen
        digest = hashlib.sha256(json.dumps(sample.tokens).encode()).hexdigest()[:16]
        return digest, sample.max_model_len, Observation(Ability.TOKENIZE, Outcome.HONORED)

    async def _exact_labels(self) -> tuple[int, Observation]:
        refusal = ""
        for count in (MAX_LABELS, MAX_LABELS // 2, 20):
            asked = _SOME_IDS[:count]
            fields = one_token(temperature=1.0, extended=False) | exact_label_fields(asked)
            answer = await self._ask(_HELLO, fields)
            if isinstance(answer, str):
                refusal = refusal or answer
                continue
            missing = count - len(_reported(answer) & set(map(token_id, asked)))
            if missing:
                detail = f"{missing} of {count} asked ids are not in the answer"
                return 0, Observation(Ability.LABEL_LOGPROBS, Outcome.IGNORED, detail)
            detail = f"log-probs of {count} labels at one position"
            return count, Observation(Ability.LABEL_LOGPROBS, Outcome.HONORED, detail)
        return 0, Observation(Ability.LABEL_LOGPROBS, Outcome.REFUSED, refusal)

    async def _top_logprobs(self) -> tuple[int, bool, Observation]:
        refusal = ""
        for top in _TOP:
            fields = one_token(temperature=0.0, extended=False)
            answer = await self._ask(_HELLO, fields | top_label_fields(top, by_id=True))
            if isinstance(answer, str):
                answer = await self._ask(_HELLO, fields | top_label_fields(top, by_id=False))
            if isinstance(answer, str):
                refusal = refusal or answer
                continue
            reported = _reported(answer)
            if not reported:
                seen = Observation(Ability.TOP_LOGPROBS, Outcome.IGNORED, "none in the answer")
                return 0, False, seen
            by_id = all(key.startswith("token_id:") for key in reported)
            # A server may give fewer than asked without a word.
            detail = f"the {len(reported)} likeliest tokens"
            return top, by_id, Observation(Ability.TOP_LOGPROBS, Outcome.HONORED, detail)
        return 0, False, Observation(Ability.TOP_LOGPROBS, Outcome.REFUSED, refusal)

    async def _constraints(self) -> tuple[ConstraintField, tuple[Observation, ...]]:
        choice = await self._constraint(_CHOICE, "structured_outputs")
        regex = await self._constraint(_REGEX, "structured_outputs")
        as_ours = await self._constraint(_JSON, "structured_outputs")
        if as_ours.outcome is Outcome.HONORED:
            return "structured_outputs", (choice, as_ours, regex)
        as_openai = await self._constraint(_JSON, "response_format")
        if as_openai.outcome is not Outcome.HONORED:
            return "structured_outputs", (choice, as_ours, regex)
        # One field or the other: what only the first could say is checked afterwards.
        lost = [
            Observation(seen.ability, Outcome.UNTESTED, "the server takes response_format only")
            if seen.outcome is Outcome.HONORED
            else seen
            for seen in (choice, regex)
        ]
        return "response_format", (lost[0], as_openai, lost[1])

    async def _constraint(self, constraint: Constraint, field: ConstraintField) -> Observation:
        sampling = Sampling(max_tokens=_CONSTRAINED_TOKENS, temperature=0.0)
        answer = await self._ask(
            _HELLO,
            sampling_fields(sampling, extended=False) | constraint_fields(constraint, field),
        )
        if isinstance(answer, str):
            return Observation(constraint.ability, Outcome.REFUSED, answer)
        text = answer.choices[0].message.content or ""
        if isinstance(constraint, JsonSchema) and _pads(text):
            detail = (
                f"by {field}, with white space in plenty: start vLLM with "
                """--structured-outputs-config '{"disable_any_whitespace": true}'"""
            )
            return Observation(constraint.ability, Outcome.HONORED, detail)
        if _keeps_to(text, constraint):
            return Observation(constraint.ability, Outcome.HONORED, f"by {field}")
        return Observation(constraint.ability, Outcome.IGNORED, f"{field}: it wrote {text[:40]!r}")

    async def _prefill(self) -> Observation:
        continued = await self._prompt_tokens(_LED, turn(with_lead=True))
        if isinstance(continued, str):
            return Observation(Ability.PREFILL, Outcome.REFUSED, continued)
        plain = await self._prompt_tokens(_HELLO, {})
        closed = await self._prompt_tokens(_LED, {})
        # A server that ignores the wish ends the assistant's turn and begins another one.
        shorter = isinstance(closed, str) or continued < closed
        if isinstance(plain, int) and shorter and continued > plain:
            return Observation(Ability.PREFILL, Outcome.HONORED)
        return Observation(Ability.PREFILL, Outcome.IGNORED, "the turn is ended and begun anew")

    async def _batch(self, exact_labels: int) -> Observation:
        chats = [messages(_HELLO), messages(_LONG)]
        fields = one_token(temperature=1.0, extended=False)
        asked = _SOME_IDS[:exact_labels]
        if exact_labels:
            fields |= exact_label_fields(asked)
        body: dict[str, Any] = {"model": self.server.config.model, "messages": chats, **fields}
        try:
            answer = parse_answer(await self.server.post(BATCH, body, self.terms), body["model"])
            rows = in_order(answer, len(chats))
        except (ModelRefused, ServerFailed) as error:
            return Observation(Ability.BATCH, Outcome.REFUSED, str(error))
        except MalformedAnswer as error:
            return Observation(Ability.BATCH, Outcome.IGNORED, str(error))
        wanted = set(map(token_id, asked))
        if any(not wanted <= _reported(answer, row.index) for row in rows):
            return Observation(Ability.BATCH, Outcome.IGNORED, "it leaves log-probs of labels out")
        detail = "" if answer.tokens().cached is not None else "without a count of cached tokens"
        return Observation(Ability.BATCH, Outcome.HONORED, detail)

    async def _priority(self) -> Observation:
        asked = {"priority": int(Priority.ROUND)}
        answer = await self._ask(_HELLO, one_token(temperature=1.0, extended=False) | asked)
        if isinstance(answer, str):
            return Observation(Ability.PRIORITY, Outcome.REFUSED, answer)
        # vLLM accepts it under any policy, and only a crowd would show whether it matters.
        return Observation(
            Ability.PRIORITY,
            Outcome.UNTESTED,
            "accepted, which says nothing: start vLLM with --scheduling-policy priority",
        )

    async def _cached_tokens(self) -> Observation:
        cached = None
        for _ in range(2):
            answer = await self._ask(_LONG, one_token(temperature=1.0, extended=False))
            if isinstance(answer, str):
                return Observation(Ability.CACHED_TOKENS, Outcome.REFUSED, answer)
            cached = answer.tokens().cached
        if cached is None:
            detail = "not reported: start vLLM with --enable-prompt-tokens-details"
            return Observation(Ability.CACHED_TOKENS, Outcome.IGNORED, detail)
        if cached == 0:
            detail = "none for a prompt sent twice: the prefix cache is off"
            return Observation(Ability.CACHED_TOKENS, Outcome.IGNORED, detail)
        return Observation(Ability.CACHED_TOKENS, Outcome.HONORED)

    async def _thinking_switches(self) -> tuple[tuple[str, ...], Observation]:
        found = []
        for switch in _SWITCHES:
            lengths = [
                await self._prompt_tokens(_HELLO, {"chat_template_kwargs": {switch: position}})
                for position in (True, False)
            ]
            if all(isinstance(length, int) for length in lengths) and lengths[0] != lengths[1]:
                found.append(switch)
        if found:
            seen = Observation(Ability.THINKING_SWITCH, Outcome.HONORED, f"off by {found}")
            return tuple(found), seen
        return (), Observation(Ability.THINKING_SWITCH, Outcome.IGNORED, "the template has none")

    async def _prompt_tokens(self, chat: Chat, fields: dict[str, Any]) -> int | str:
        answer = await self._ask(chat, one_token(temperature=1.0, extended=False) | fields)
        return answer if isinstance(answer, str) else answer.tokens().prompt

    async def _takes(self, fields: dict[str, Any]) -> bool:
        return isinstance(await self._ask(_HELLO, fields), ChatAnswer)

    async def _tokenize(self, chat: Chat) -> Tokenized:
        body = {"model": self.server.config.model, "messages": messages(chat)}
        return parse(Tokenized, await self.server.post(TOKENIZE, body, self.terms))

    async def _ask(self, chat: Chat, fields: dict[str, Any]) -> ChatAnswer | str:
        """The answer, or why it was refused. What says nothing about abilities is raised."""
        body: dict[str, Any] = {"model": self.server.config.model, "messages": messages(chat)}
        body |= fields
        try:
            answer = parse_answer(await self.server.post(CHAT, body, self.terms), body["model"])
            in_order(answer, 1)
        except WrongModel:
            raise
        except (ModelRefused, ServerFailed) as error:
            return str(error)
        return answer


def _reported(answer: ChatAnswer, index: int = 0) -> set[str]:
    logprobs = answer.choices[index].logprobs
    if logprobs is None or not logprobs.content:
        return set()
    return set(reported_logprobs(logprobs.content[0]))


def _keeps_to(text: str, constraint: Constraint) -> bool:
    if isinstance(constraint, Choice):
        return text in constraint.options
    if isinstance(constraint, Regex):
        return re.fullmatch(constraint.pattern, text) is not None
    try:
        answer = json.loads(text)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("qzx") in ("q7", "q8")


def _pads(text: str) -> bool:
    """Whether it keeps to the schema, but did not come to an end for all its white space."""
    compact = re.sub(r"\s", "", text)
    return (
        compact != text
        and len(compact) >= len('{"qzx"')
        and any(f'{{"qzx":"{value}"}}'.startswith(compact) for value in ("q7", "q8"))
    )


def _base_name(path: str) -> str:
    """A folder's own name: where the weights lie on that machine is not what they are."""
    return path.rstrip("/").rpartition("/")[2] if path.startswith("/") else path
