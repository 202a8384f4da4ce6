"""The OpenAI-compatible protocol: what is sent, and which answers are believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from services.llm.chat import Chat
from services.llm.errors import Flaw, MalformedAnswer, WrongModel
from services.llm.port import Choice, Constraint, Finish, JsonSchema, Labels, Sampling, Usage

CHAT = "/v1/chat/completions"
BATCH = "/v1/chat/completions/batch"
MODELS = "/v1/models"
TOKENIZE = "/tokenize"
VERSION = "/version"

_TOKEN_ID = "token_id:"  # noqa: S105  # how vLLM writes a token by its number
_ROUNDING = 1e-3

ConstraintField = Literal["structured_outputs", "response_format"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class TokenLogprob(_Part):
    token: str
    logprob: FiniteFloat


class Step(TokenLogprob):
    top_logprobs: tuple[TokenLogprob, ...] = ()


class Logprobs(_Part):
    content: tuple[Step, ...] | None = None


class AssistantMessage(_Part):
    content: str | None = None
    reasoning: str | None = None


class AnswerChoice(_Part):
    index: int
    message: AssistantMessage
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class PromptDetails(_Part):
    cached_tokens: int | None = None


class TokenCounts(_Part):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None


class ChatAnswer(_Part):
    model: str
    choices: tuple[AnswerChoice, ...]
    usage: TokenCounts
    system_fingerprint: str | None = None

    def tokens(self) -> Usage:
        details = self.usage.prompt_tokens_details
        return Usage(
            prompt=self.usage.prompt_tokens,
            completion=self.usage.completion_tokens,
            cached=None if details is None else details.cached_tokens,
        )


class ServedModel(_Part):
    id: str
    owned_by: str = "unknown"
    root: str | None = None
    max_model_len: int | None = None


class ModelList(_Part):
    data: tuple[ServedModel, ...]


class Tokenized(_Part):
    tokens: tuple[int, ...]
    max_model_len: int | None = None


class ServerVersion(_Part):
    version: str


Parsed = TypeVar("Parsed", bound=_Part)


def parse(kind: type[Parsed], content: bytes) -> Parsed:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        kinds = {problem["type"] for problem in error.errors(include_url=False)}
        if "json_invalid" in kinds:
            flaw = Flaw.NOT_JSON
        elif "finite_number" in kinds:
            flaw = Flaw.NOT_FINITE
        else:
            flaw = Flaw.WRONG_SHAPE
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MalformedAnswer(
            flaw, f"the model server's answer is malformed: {where} {first['msg']}"
        ) from None


def parse_answer(content: bytes, model: str) -> ChatAnswer:
    answer = parse(ChatAnswer, content)
    if answer.model != model:
        raise WrongModel(f"{model!r} was asked and {answer.model!r} answered: see LRGD_LLM_MODEL")
    return answer


def messages(chat: Chat) -> list[dict[str, str]]:
    sent = [{"role": message.role, "content": message.content} for message in chat.messages]
    if chat.lead:
        sent.append({"role": "assistant", "content": chat.lead})
    return sent


def turn(*, with_lead: bool) -> dict[str, bool]:
    """Whether the last message is to be continued. Nothing is said where it is as usual."""
    if not with_lead:
        return {}
    return {"add_generation_prompt": False, "continue_final_message": True}


def one_token(*, temperature: float, extended: bool) -> dict[str, Any]:
    """Log-probs as the model has them: a server may otherwise bend them by the sampling defaults
    that came with the weights."""
    return sampling_fields(Sampling(max_tokens=1, temperature=temperature), extended=extended)


def sampling_fields(sampling: Sampling, *, extended: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if extended:
        fields |= {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
    return fields


def exact_label_fields(token_ids: Sequence[int]) -> dict[str, Any]:
    return {
        "logprobs": True,
        "logprob_token_ids": list(token_ids),
        "return_tokens_as_token_ids": True,
    }


def top_label_fields(top: int, *, by_id: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"logprobs": True, "top_logprobs": top}
    return {**fields, "return_tokens_as_token_ids": True} if by_id else fields


def constraint_fields(constraint: Constraint, field: ConstraintField) -> dict[str, Any]:
    if field == "response_format":
        assert isinstance(constraint, JsonSchema)
        named = {"name": "answer", "strict": True, "schema": dict(constraint.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if isinstance(constraint, JsonSchema):
        return {"structured_outputs": {"json": dict(constraint.schema)}}
    if isinstance(constraint, Choice):
        return {"structured_outputs": {"choice": list(constraint.options)}}
    return {"structured_outputs": {"regex": constraint.pattern}}


def first_step(choice: AnswerChoice) -> Step:
    steps = None if choice.logprobs is None else choice.logprobs.content
    if not steps:
        raise MalformedAnswer(Flaw.MISSING_LABELS, "the answer has no log-probs")
    if len(steps) > 1:
        raise MalformedAnswer(
            Flaw.TOO_MANY_TOKENS, f"one token was asked for, {len(steps)} were generated"
        )
    return steps[0]


def reported_logprobs(step: Step) -> dict[str, float]:
    """By token, as the server writes it. The sampled token may stand in the list or not."""
    reported: dict[str, float] = {}
    for entry in step.top_logprobs:
        if entry.logprob > _ROUNDING:
            raise MalformedAnswer(
                Flaw.NOT_FINITE, f"a log-prob of {entry.logprob} is a probability above 1"
            )
        if entry.token in reported:
            raise MalformedAnswer(
                Flaw.DUPLICATE_LABELS, f"{entry.token!r} has two log-probs in one answer"
            )
        reported[entry.token] = min(0.0, entry.logprob)
    return reported


def written_as(labels: Labels, *, by_id: bool) -> list[str]:
    """The labels as the keys of `reported_logprobs`."""
    if labels.token_ids is None or not by_id:
        return list(labels.texts)
    return [token_id(number) for number in labels.token_ids]


def token_id(number: int) -> str:
    return f"{_TOKEN_ID}{number}"


def in_order(answer: ChatAnswer, count: int) -> list[AnswerChoice]:
    by_index = {choice.index: choice for choice in answer.choices}
    if len(answer.choices) != count or set(by_index) != set(range(count)):
        raise MalformedAnswer(
            Flaw.WRONG_SHAPE, f"{count} answers were asked for, {len(answer.choices)} came"
        )
    return [by_index[index] for index in range(count)]


def finish(choice: AnswerChoice) -> Finish:
    return Finish.LENGTH if choice.finish_reason == "length" else Finish.STOP
