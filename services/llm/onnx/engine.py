"""The embedded model, one call after the other: to be used by one thread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from services.llm.ability import Ability, Observation, Outcome
from services.llm.deadline import Deadline
from services.llm.errors import (
    AbilityMissing,
    ContextOverflow,
    LabelsUnfit,
    ModelRefused,
    ModelTimeout,
)
from services.llm.onnx.constraints import Grammars
from services.llm.onnx.files import ModelFiles
from services.llm.onnx.network import Floats, Network, Past, logprobs, picked_logprobs
from services.llm.onnx.packing import ROOT, Pack, packed
from services.llm.onnx.prefixes import BLOCK_TOKENS, PrefixCache
from services.llm.onnx.tokenizer import ChatTokenizer
from services.llm.onnx.writing import Writing
from services.llm.port import (
    MAX_LABELS,
    Capabilities,
    Engine,
    EngineFingerprint,
    GenerationRequest,
    LabelRow,
    Labels,
    LabelSource,
    TitleScore,
    Usage,
)

ENGINE = "onnxruntime"


class OnnxEngine:
    """Loads the model when it is made."""

    def __init__(self, files: ModelFiles, *, model: str, threads: int, cache_bytes: int) -> None:
        self.tokenizer = ChatTokenizer(files)
        self._network = Network(files.graph, threads=threads)
        self._prefixes = PrefixCache(cache_bytes)
        self._end_tokens = files.end_tokens
        self._context_tokens = files.context_tokens
        self._grammars = Grammars(
            self.tokenizer.as_json, self._network.vocabulary, files.end_tokens
        )
        fingerprint = EngineFingerprint(
            model=model,
            weights=files.weights_digest(),
            tokenizer=files.tokenizer_digest(),
            engine=ENGINE,
            version=f"{onnxruntime.__version__}, graph {files.graph_digest()}",
            dtype="float32",
        )
        observations = tuple(Observation(ability, Outcome.HONORED) for ability in Ability)
        self.description = Engine(
            fingerprint,
            Capabilities(LabelSource.EXACT, MAX_LABELS, self._context_tokens, observations),
        )

    def label_ids(self, labels: Labels) -> tuple[int, ...]:
        if labels.token_ids is None:
            raise LabelsUnfit("the labels come without their tokens: find them with `find_labels`")
        if len(labels.token_ids) > MAX_LABELS:
            raise AbilityMissing(
                Ability.LABEL_LOGPROBS, f"{len(labels.token_ids)} labels, at most {MAX_LABELS}"
            )
        if not all(0 <= number < self._network.vocabulary for number in labels.token_ids):
            raise LabelsUnfit("some labels are no tokens of this model")
        return labels.token_ids

    def title_tokens(self, title: str, end: str | None) -> tuple[int, ...]:
        if end is None:
            return (*self.tokenizer.tokens(title), self._end_tokens[0])
        return self.tokenizer.tokens(title + end)

    def check_room(self, prompt: int, answer: int) -> None:
        if not prompt:
            raise ModelRefused("the chat has no tokens to go on from")
        if prompt + answer > self._context_tokens:
            raise ContextOverflow(
                f"the model's context is {self._context_tokens} tokens; the prompt has {prompt} "
                f"and the answer may have {answer}"
            )

    def label_row(
        self, prompt: Sequence[int], label_ids: Sequence[int], deadline: Deadline
    ) -> tuple[LabelRow, Usage]:
        logits, _, usage = self._read(prompt, deadline)
        values = logprobs(logits)[list(label_ids)]
        return LabelRow(tuple(map(float, values))), usage + Usage(completion=1)

    def title_scores(
        self, prompt: Sequence[int], titles: Sequence[Sequence[int]], deadline: Deadline
    ) -> tuple[tuple[TitleScore, ...], Usage]:
        logits, past, usage = self._read(prompt, deadline)
        totals = np.zeros(len(titles))
        for pack in packed(titles):
            _check(deadline)
            rows = self._rows(pack, logits, past)
            for title, path in zip(pack.titles, pack.paths, strict=True):
                # The prompt's own logits are the first row, and the nodes' come after.
                nodes = [node - ROOT for node in path]
                tokens = np.asarray(titles[title], np.int64)
                totals[title] = picked_logprobs(rows[nodes], tokens).sum()
        scores = tuple(
            TitleScore(float(total), len(tokens))
            for total, tokens in zip(totals, titles, strict=True)
        )
        return scores, usage + Usage(prompt=sum(map(len, titles)))

    def begin_writing(
        self, prompt: Sequence[int], request: GenerationRequest, deadline: Deadline
    ) -> Writing:
        logits, past, usage = self._read(prompt, deadline)
        guide = None if request.constraint is None else self._grammars.begin(request.constraint)
        return Writing(
            self._network,
            self.tokenizer,
            request.sampling,
            guide,
            end_tokens=self._end_tokens,
            logits=logits,
            past=past,
            prompt=usage,
        )

    def _read(self, prompt: Sequence[int], deadline: Deadline) -> tuple[Floats, Past, Usage]:
        """Logits after the prompt, and its past; what is known of it is not computed again."""
        past = self._prefixes.find(prompt) or self._network.nothing
        usage = Usage(prompt=len(prompt), cached=past.tokens)
        logits = np.zeros(0, np.float32)
        for start in range(past.tokens, len(prompt), BLOCK_TOKENS):
            _check(deadline)
            rows, past = self._network.run(prompt[start : start + BLOCK_TOKENS], past)
            logits = rows[0]
        self._prefixes.keep(prompt, past)
        return logits, past, usage

    def _rows(self, pack: Pack, logits: Floats, past: Past) -> Floats:
        """Logits after the prompt, then after each node of the pack."""
        if not pack.tokens:
            return logits[None]
        rows, _ = self._network.run(
            pack.tokens,
            past,
            positions=past.tokens + pack.depths(),
            own_mask=pack.mask(),
            wanted=range(len(pack.tokens)),
            keep=False,
        )
        return np.concatenate([logits[None], rows])


def _check(deadline: Deadline) -> None:
    if not deadline.remaining():
        raise ModelTimeout("the deadline passed while the model computed")
