"""What an answer must look like, kept to token by token with llguidance."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from services.llm.errors import ModelUnavailable, ServerFailed
from services.llm.onnx.sampling import Allowed
from services.llm.port import Choice, Constraint, JsonSchema
from services.observability.logging import get_logger

log = get_logger(__name__)


class Grammars:
    def __init__(self, tokenizer_json: str, vocabulary: int, end_tokens: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        try:
            self._tokenizer = LLTokenizer(
                tokenizer_json, n_vocab=vocabulary, eos_token=list(end_tokens)
            )
        except ValueError as error:
            raise ModelUnavailable(f"llguidance cannot use the tokenizer: {error}") from error

    def begin(self, constraint: Constraint) -> Guide | None:
        """None where the library does not know how: then the answer is written freely."""
        matcher = LLMatcher(self._tokenizer, _grammar(constraint), log_level=0)
        if matcher.is_error():
            log.warning(
                "llm_constraint_unknown",
                kind=constraint.ability.value,
                error=matcher.get_error().splitlines()[0],
            )
            return None
        return Guide(matcher, self._vocabulary)


class Guide:
    """Follows one answer."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> Allowed:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        unpacked = np.unpackbits(bits, count=self._vocabulary, bitorder="little")
        return unpacked.astype(np.bool_)

    def goes_on_after(self, token: int) -> bool:
        self._matcher.consume_token(token)
        self._check()
        return not self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ServerFailed(f"the constraint got lost: {self._matcher.get_error()}")


def _grammar(constraint: Constraint) -> str:
    match constraint:
        case JsonSchema(schema):
            # One way to write it, that of json.dumps, which lrgd-mini was taught.
            return LLMatcher.grammar_from_json_schema(
                dict(schema),
                overrides={
                    "whitespace_flexible": False,
                    "item_separator": ", ",
                    "key_separator": ": ",
                },
            )
        case Choice(options):
            texts = " | ".join(json.dumps(option, ensure_ascii=False) for option in options)
            return LLMatcher.grammar_from_lark(f"start: {texts}")
        case _:
            return LLMatcher.grammar_from_regex(constraint.pattern)
