"""Chats to tokens and back, as Hugging Face's files say it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from services.llm.chat import Chat
from services.llm.errors import ModelRefused, ModelUnavailable
from services.llm.onnx.files import ModelFiles

LINES_KEPT = 50_000


class ChatTokenizer:
    def __init__(self, files: ModelFiles) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        except Exception as error:  # the library raises nothing narrower
            raise ModelUnavailable(f"{files.tokenizer} is no tokenizer: {error}") from error
        self._tokens_of_line = lru_cache(LINES_KEPT)(self._count_line)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Set up as transformers does, so that a template means the same here and there.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(files.chat_template)
        except TemplateError as error:
            raise ModelUnavailable(f"the chat template cannot be read: {error}") from error
        self._texts = {
            name: _text_of(files.tokenizer_config.get(name)) for name in ("bos_token", "eos_token")
        }

    def render(self, chat: Chat) -> str:
        """Up to where the answer goes on: the lead is the beginning of the assistant's turn."""
        messages = [{"role": one.role, "content": one.content} for one in chat.messages]
        try:
            begun = self._template.render(
                messages=messages, add_generation_prompt=True, enable_thinking=False, **self._texts
            )
        except TemplateError as error:
            raise ModelRefused(f"the chat template refuses the messages: {error}") from error
        return begun + chat.lead

    def tokens(self, prompt: Chat | str) -> tuple[int, ...]:
        text = prompt if isinstance(prompt, str) else self.render(prompt)
        return tuple(self._encoded(text))

    def count(self, text: str) -> int:
        """Line by line, for lines of prompts come again and again. No tokenizer joins what a line
        feed parts from the next line; one that begins every text with a mark counts it too often.
        """
        return sum(map(self._tokens_of_line, text.splitlines(keepends=True)))

    def _count_line(self, line: str) -> int:
        return len(self._encoded(line))

    def _encoded(self, text: str) -> Sequence[int]:
        """Without the places of tokens in the text, which nobody asks for."""
        (found,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        ids: list[int] = found.ids
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        written: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return written

    @cached_property
    def as_json(self) -> str:
        content: str = self._tokenizer.to_str()
        return content


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _text_of(token: object) -> str:
    """Older files spell a token as an object."""
    if isinstance(token, dict):
        return str(token.get("content", ""))
    return "" if token is None else str(token)
