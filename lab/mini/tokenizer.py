"""The tokenizer of lrgd-mini: byte-level BPE, trained on the words that its prompts are made of.

Line breaks begin a piece and never share a token with what stands before them. So the tokens of a
text are those of its lines, one after the other, each line but the first with the break before it:
prompts are put together from lines whose tokens are already known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)

from services.llm.chat import Chat
from services.prompts.labels import LABELS

PAD, END = "<|pad|>", "<|end|>"
ROLES = tuple(f"<|{role}|>" for role in ("system", "user", "assistant"))
GRADES = tuple(f"<|grade_{grade}|>" for grade in range(5))
SPECIAL = (PAD, END, *ROLES, *GRADES)

# A prefilled assistant turn comes last and is cut behind its text by whoever continues it.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

MOST_TOKENS = 2_048
_KEPT_LINES = 400_000

# What may share a token. Lists begin lines: `\n-` is one piece. Words and runs of signs take the
# space before them along; or all of a line, but for a label at its end, and for the space before
# what is named: a title is the same tokens wherever it stands.
WORDS = r"\n-?| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s"
_LABEL = rf"(?:{'|'.join(LABELS)})(?=\n|$)"
WHOLE_LINES = rf"\n- ?|\"|; ?| ?{_LABEL}|\A |(?:(?! {_LABEL})[^\n\";])+"
# Labels, alone and behind a space, must be whole however rare they are.
_LABEL_WEIGHT = 100


class MiniTokenizer:
    """Token ids of texts, chats and lines."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._lines: dict[str, tuple[int, ...]] = {}

    @classmethod
    def kept(
        cls,
        folder: Path,
        texts: Callable[[], Iterable[str]],
        most: int = MOST_TOKENS,
        pieces: str = WORDS,
        names: Sequence[str] = (),
    ) -> MiniTokenizer:
        """That of the folder; trained once, for a checkpoint means nothing under another one."""
        if not (folder / "tokenizer.json").exists():
            cls.trained_on(texts(), most, pieces, names).save(folder)
        return cls.load(folder)

    @classmethod
    def trained_on(
        cls,
        texts: Iterable[str],
        most: int = MOST_TOKENS,
        pieces: str = WORDS,
        names: Sequence[str] = (),
    ) -> MiniTokenizer:
        """`names` are tokens as they are, beside `most` others."""
        tokenizer = _untrained(pieces)
        if names:
            texts = _between(texts, names)
        trainer = trainers.BpeTrainer(
            vocab_size=most,
            min_frequency=2,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        labels = [text for label in LABELS for text in (label, f" {label}")]
        tokenizer.train_from_iterator([*texts, *(labels * _LABEL_WEIGHT)], trainer)
        tokenizer.add_tokens(_whole(names))
        return cls(tokenizer)

    @classmethod
    def load(cls, folder: Path) -> MiniTokenizer:
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def save(self, folder: Path) -> None:
        """In Hugging Face's layout, chat template included."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(
            json.dumps(_hugging_face_config(), indent=2) + "\n", encoding="utf-8"
        )

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def count(self, text: str) -> int:
        return sum(len(ids) for ids in self.lines(text))

    def knows(self, token: str) -> bool:
        return self.tokenizer.token_to_id(token) is not None

    def id(self, token: str) -> int:
        """Of a special token."""
        number: int | None = self.tokenizer.token_to_id(token)
        if number is None:
            raise KeyError(token)
        return number

    @cached_property
    def grades(self) -> tuple[int, ...]:
        return tuple(map(self.id, GRADES))

    @cached_property
    def labels(self) -> dict[str, int]:
        """Token of each label as it follows a space: in the list of candidates, and the cue."""
        return {label: self._single(f" {label}") for label in LABELS}

    @cached_property
    def leading_labels(self) -> dict[str, int]:
        """Token of each label as it begins an answer."""
        return {label: self._single(label) for label in LABELS}

    def lines(self, text: str) -> list[tuple[int, ...]]:
        """The tokens of each line; together they are the tokens of the text."""
        first, *others = text.split("\n")
        return [self._line(first), *(self._line(f"\n{line}") for line in others)]

    def chat(self, chat: Chat) -> list[int]:
        """As the chat template has it, up to where the model goes on."""
        ids: list[int] = []
        for message in chat.messages:
            ids.append(self.id(f"<|{message.role}|>"))
            ids.extend(token for line in self.lines(message.content) for token in line)
            ids.append(self.id(END))
        ids.append(self.id("<|assistant|>"))
        ids.extend(token for line in self.lines(chat.lead) for token in line)
        return ids

    def _line(self, line: str) -> tuple[int, ...]:
        ids = self._lines.get(line)
        if ids is None:
            ids = tuple(self.encode(line))
            if len(self._lines) < _KEPT_LINES and len(line) < 80:
                self._lines[line] = ids
        return ids

    def _single(self, text: str) -> int:
        ids = self.encode(text)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens")
        return ids[0]


def _untrained(pieces: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _whole(names: Iterable[str]) -> list[AddedToken]:
    return [AddedToken(name, single_word=True, normalized=False) for name in names]


def _between(texts: Iterable[str], names: Sequence[str]) -> Iterator[str]:
    """What stands between names, for only that is made of the other tokens."""
    finder = Tokenizer(models.WordLevel({PAD: 0}, unk_token=PAD))
    finder.add_tokens(_whole(names))
    for text in texts:
        begin = 0
        found = finder.encode(text, add_special_tokens=False)
        for token, (start, stop) in zip(found.ids, found.offsets, strict=True):
            if token:
                yield text[begin:start]
                begin = stop
        yield text[begin:]


def rendered(chat: Chat) -> str:
    """The text of a chat, made with the chat template in the way of Hugging Face's tokenizers."""
    messages = [{"role": message.role, "content": message.content} for message in chat.messages]
    if chat.lead:
        messages.append({"role": "assistant", "content": chat.lead})
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        CHAT_TEMPLATE
    )
    text = template.render(messages=messages, add_generation_prompt=not chat.lead)
    return text.removesuffix(END) if chat.lead else text


def _hugging_face_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "add_eos_token": False,
        "eos_token": END,
        "pad_token": PAD,
        "chat_template": CHAT_TEMPLATE,
    }
