"""The scripted model behind the wire format of vLLM: an ASGI application.

In a test it is spoken to through `httpx2.ASGITransport`; for a server with a port, run it with
uvicorn. `abilities` makes it a server of another kind or age.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from services.llm.ability import Ability, Outcome
from services.llm.chat import Chat, Message
from services.llm.errors import ContextOverflow
from services.llm.port import Choice, Constraint, Finish, JsonSchema, Sampling, Usage
from services.llm.scripted import Fault, Faults, Script, spoiled
from services.llm.wire import BATCH, CHAT, MODELS, TOKENIZE, VERSION, token_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]


class _Refusal(Exception):
    def __init__(self, status: int, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.parameter = parameter


class ScriptedServer:
    """Every ability is honored but those that `abilities` says otherwise of; regular expressions
    are refused. `received` keeps what was asked."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        abilities: Mapping[Ability, Outcome] | None = None,
        top_logprobs: int = 20,
        engine: str = "scripted",
        version: str = "1",
    ) -> None:
        self.script = script or Script()
        self.received: list[Received] = []
        self.version = version
        self._engine = engine
        self._abilities = {Ability.REGEX: Outcome.REFUSED, **(abilities or {})}
        self._top_logprobs = top_logprobs

    @property
    def faults(self) -> Faults:
        return self.script.faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        raw = b""
        more = True
        while more:
            event = await receive()
            raw += event.get("body", b"")
            more = event.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = json.loads(raw) if raw else {}
        self.received.append(Received(path, body, headers))
        fault = self.script.faults.strike(about_content=path in (CHAT, BATCH))
        if await self._struck(fault, send):
            return
        try:
            answer = await self._answer(path, body, fault)
        except _Refusal as refusal:
            await _respond(send, refusal.status, _error(refusal))
            return
        except ContextOverflow as error:
            await _respond(send, 400, _error(_Refusal(400, str(error), "input_tokens")))
            return
        content = json.dumps(answer).encode()
        if fault is Fault.TRUNCATED:
            content = content[: len(content) // 2]
        await _respond(send, 200, content)

    async def _struck(self, fault: Fault | None, send: Send) -> bool:
        """Whether the fault has ended the request."""
        match fault:
            case Fault.SLOW:
                await asyncio.sleep(self.script.faults.slow_seconds)
            case Fault.HANG:
                await asyncio.Event().wait()
            case Fault.RESET:
                await _respond(send, 200, b"{", length=1000)
                raise ConnectionResetError("on command")
            case Fault.OVERLOADED | Fault.UNAVAILABLE | Fault.FAILED:
                status = int(fault)
                after = self.script.faults.retry_after
                more = [] if after is None else [(b"retry-after", f"{after:g}".encode())]
                await _respond(send, status, _error(_Refusal(status, "on command")), more)
                return True
            case Fault.CONTEXT_OVERFLOW:
                message = "This model's maximum context length is exceeded"
                await _respond(send, 400, _error(_Refusal(400, message)))
                return True
        return False

    async def _answer(self, path: str, body: Mapping[str, Any], fault: Fault | None) -> Any:
        if path == MODELS:
            card = {
                "id": self.script.model,
                "owned_by": self._engine,
                "max_model_len": self.script.context_tokens,
            }
            return {"object": "list", "data": [card]}
        if path == VERSION:
            return {"version": self.version}
        if path not in (CHAT, BATCH, TOKENIZE):
            raise _Refusal(404, "Not Found")
        if body["model"] != self.script.model:
            raise _Refusal(404, f"The model `{body['model']}` does not exist.", "model")
        if path == TOKENIZE:
            self._refuse_unless(Ability.TOKENIZE)
            text = body["prompt"] if "prompt" in body else self._rendered(body["messages"], body)
            tokens = self.script.tokenize(text)
            return {"count": len(tokens), "tokens": tokens, "max_model_len": None}
        if path == BATCH:
            self._refuse_unless(Ability.BATCH)
        return await self._chat(path, body, fault)

    async def _chat(self, path: str, body: Mapping[str, Any], fault: Fault | None) -> Any:
        self._refuse_fields(body)
        batch = body["messages"] if path == BATCH else [body["messages"]]
        answered = await asyncio.gather(
            *(self._choice(index, sent, body, fault) for index, sent in enumerate(batch))
        )
        usage = Usage()
        for _, one in answered:
            usage += one
        counted: dict[str, Any] = {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
        }
        # As vLLM: not for a batch.
        if path == CHAT and self._honors(Ability.CACHED_TOKENS):
            counted["prompt_tokens_details"] = {"cached_tokens": usage.cached}
        return {
            "model": "another" if fault is Fault.WRONG_MODEL else self.script.model,
            "choices": [choice for choice, _ in answered],
            "usage": counted,
            "system_fingerprint": f"scripted-{self.version}",
        }

    async def _choice(
        self, index: int, sent: list[dict[str, str]], body: Mapping[str, Any], fault: Fault | None
    ) -> tuple[dict[str, Any], Usage]:
        prompt = self._rendered(sent, body)
        constraint = self._constraint(body)
        text, finish, tokens = self.script.write(prompt, _sampling(body), constraint)
        usage = self.script.count_prompt(self.script.tokenize(prompt)) + Usage(completion=tokens)
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": spoiled(text, fault)},
            "finish_reason": "length" if finish is Finish.LENGTH else "stop",
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [self._step(prompt, body, fault)]}
        async with self.script.computed(usage):
            return choice, usage

    def _step(self, prompt: str, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        by_id = body.get("return_tokens_as_token_ids", False)
        asked = body.get("logprob_token_ids")
        top = body.get("top_logprobs", 0)
        if asked and self._honors(Ability.LABEL_LOGPROBS) and fault is not Fault.LABELS_IGNORED:
            known = {number: self.script.label_logprob(prompt, number) for number in asked}
            reported = known
        else:
            known = self.script.likeliest(prompt, max(1, top))
            reported = known if top and self._honors(Ability.TOP_LOGPROBS) else {}
        sampled = max(known, key=lambda number: known[number])
        entries: list[dict[str, Any]] = [
            {"token": self._named(number, by_id), "logprob": value}
            for number, value in reported.items()
        ]
        match fault:
            case Fault.NAN if entries:
                entries[0]["logprob"] = math.nan
            case Fault.MISSING_LABELS:
                del entries[::2]
            case Fault.DUPLICATE_LABELS if entries:
                entries.append({**entries[0], "logprob": -7.0})
            case Fault.EXTRA_LABELS:
                entries.append({"token": token_id(7), "logprob": -7.0})
        return {
            "token": self._named(sampled, by_id),
            "logprob": known[sampled],
            "top_logprobs": entries,
        }

    def _named(self, number: int, by_id: bool) -> str:
        return token_id(number) if by_id else self.script.text_of(number)

    def _rendered(self, sent: list[dict[str, str]], body: Mapping[str, Any]) -> str:
        messages = [Message(one["role"], one["content"]) for one in sent]  # type: ignore[arg-type]
        lead = ""
        if messages[-1].role == "assistant":
            lead = messages.pop().content
        continued = body.get("continue_final_message", False) and self._honors(Ability.PREFILL)
        switches = body.get("chat_template_kwargs") or {}
        thinking = self._honors(Ability.THINKING_SWITCH) and switches.get("enable_thinking", False)
        return self.script.render(
            Chat(tuple(messages), lead), thinking=thinking, closed=bool(lead) and not continued
        )

    def _constraint(self, body: Mapping[str, Any]) -> Constraint | None:
        asked = body.get("structured_outputs") or {}
        if "choice" in asked and self._honors(Ability.CHOICE):
            return Choice(tuple(asked["choice"]))
        schema = asked.get("json")
        if body.get("response_format"):
            schema = body["response_format"]["json_schema"]["schema"]
        if schema is not None and self._honors(Ability.JSON_SCHEMA):
            return JsonSchema(schema)
        return None

    def _refuse_fields(self, body: Mapping[str, Any]) -> None:
        asked = body.get("structured_outputs") or {}
        present = {
            Ability.LABEL_LOGPROBS: "logprob_token_ids" in body,
            Ability.CHOICE: "choice" in asked,
            Ability.REGEX: "regex" in asked,
            Ability.JSON_SCHEMA: "json" in asked or "response_format" in body,
            Ability.PREFILL: "continue_final_message" in body,
            Ability.PRIORITY: "priority" in body,
            Ability.THINKING_SWITCH: "chat_template_kwargs" in body,
            Ability.TOP_LOGPROBS: bool(body.get("top_logprobs")),
        }
        for ability, is_present in present.items():
            if is_present:
                self._refuse_unless(ability)
        if body.get("top_logprobs", 0) > self._top_logprobs:
            raise _Refusal(400, f"at most {self._top_logprobs} top_logprobs", "top_logprobs")

    def _refuse_unless(self, ability: Ability) -> None:
        if self._abilities.get(ability) is Outcome.REFUSED:
            raise _Refusal(400, f"{ability} is not known here", ability.value)

    def _honors(self, ability: Ability) -> bool:
        return self._abilities.get(ability, Outcome.HONORED) is Outcome.HONORED


def _sampling(body: Mapping[str, Any]) -> Sampling:
    return Sampling(
        max_tokens=body["max_tokens"],
        temperature=body.get("temperature", 1.0),
        seed=body.get("seed"),
        stop=tuple(body.get("stop", ())),
    )


def _error(refusal: _Refusal) -> bytes:
    error = {"message": str(refusal), "param": refusal.parameter, "code": refusal.status}
    return json.dumps({"error": error}).encode()


async def _respond(
    send: Send,
    status: int,
    content: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    length: int | None = None,
) -> None:
    """With a `length` of more than the content, the answer is left unfinished."""
    known = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content) if length is None else length).encode()),
    ]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*known, *(headers or [])]}
    )
    await send({"type": "http.response.body", "body": content, "more_body": length is not None})
