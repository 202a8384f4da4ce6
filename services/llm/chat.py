"""What a language model is asked: messages, and the beginning of the answer."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Chat:
    """A conversation; `lead` is what the assistant's turn is made to begin with."""

    messages: tuple[Message, ...]
    lead: str = ""
