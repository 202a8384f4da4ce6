"""One answer on its way, some tokens at a time, so that others can go between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.llm.deadline import Deadline
from services.llm.errors import ModelTimeout
from services.llm.onnx.constraints import Guide
from services.llm.onnx.network import Floats, Network, Past
from services.llm.onnx.sampling import draw
from services.llm.onnx.tokenizer import ChatTokenizer
from services.llm.port import Finish, Generated, Sampling, Usage


class Writing:
    def __init__(
        self,
        network: Network,
        tokenizer: ChatTokenizer,
        sampling: Sampling,
        guide: Guide | None,
        *,
        end_tokens: Sequence[int],
        logits: Floats,
        past: Past,
        prompt: Usage,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._guide = guide
        self._end_tokens = frozenset(end_tokens)
        self._logits = logits
        self._past = past
        self._prompt = prompt
        self._random = np.random.default_rng(sampling.seed)
        self._written: list[int] = []

    def go_on(self, most_tokens: int, deadline: Deadline) -> Generated | None:
        """The answer, once it is whole."""
        for _ in range(most_tokens):
            if not deadline.remaining():
                raise ModelTimeout("the deadline passed while the model wrote")
            if len(self._written) >= self._sampling.max_tokens:
                return self._generated(Finish.LENGTH)
            if self._write_one():
                return self._generated(Finish.STOP)
        return None

    def _write_one(self) -> bool:
        """Whether the answer ends with it."""
        if self._written:
            self._logits, self._past = self._next()
        allowed = None if self._guide is None else self._guide.allowed()
        token = draw(self._logits, self._sampling, self._random, allowed)
        self._written.append(token)
        if token in self._end_tokens:
            return True
        if self._guide is not None and not self._guide.goes_on_after(token):
            return True
        return bool(self._sampling.stop) and self._cut(self._text()) is not None

    def _next(self) -> tuple[Floats, Past]:
        rows, past = self._network.run(self._written[-1:], self._past)
        return rows[0], past

    def _text(self) -> str:
        return self._tokenizer.text(
            [token for token in self._written if token not in self._end_tokens]
        )

    def _cut(self, text: str) -> str | None:
        """What stands before the first stop text, if there is one."""
        places = [text.find(stop) for stop in self._sampling.stop]
        found = [place for place in places if place >= 0]
        return text[: min(found)] if found else None

    def _generated(self, finish: Finish) -> Generated:
        text = self._text()
        cut = self._cut(text)
        usage = self._prompt + Usage(completion=len(self._written))
        return Generated(text if cut is None else cut, finish, usage, self._guide is not None)
