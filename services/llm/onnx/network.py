"""The graph in ONNX Runtime: numbers in, numbers out. `lab/mini/onnx_graph.py` says which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as raised

from services.llm.errors import Flaw, MalformedAnswer, ModelUnavailable, ServerFailed

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

NOT_SEEN = np.float32(-1e9)
_FAILURES = (
    raised.Fail,
    raised.InvalidArgument,
    raised.InvalidGraph,
    raised.InvalidProtobuf,
    raised.NoSuchFile,
    raised.NotImplemented,
    raised.RuntimeException,
    MemoryError,
)


@dataclass(frozen=True)
class Past:
    """Keys and values of the tokens so far, [2 x layers][kv heads, tokens, head width]."""

    arrays: Sequence[Floats]

    @property
    def tokens(self) -> int:
        return int(self.arrays[0].shape[1])


class Network:
    """One thread of computation unless told otherwise. Made in the process that uses it."""

    def __init__(self, graph: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads would burn the cores that everything else runs on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except _FAILURES as error:
            raise ModelUnavailable(f"ONNX Runtime cannot load {graph}: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._past_names = [one.name for one in inputs if one.name.startswith("past_")]
        self._names = [one.name for one in outputs]
        heads, _, width = next(one.shape for one in inputs if one.name == self._past_names[0])
        self.vocabulary = int(outputs[0].shape[1])
        self.nothing = Past([np.zeros((heads, 0, width), np.float32)] * len(self._past_names))

    def run(
        self,
        tokens: Sequence[int],
        past: Past,
        *,
        positions: Integers | None = None,
        own_mask: Floats | None = None,
        wanted: Sequence[int] = (-1,),
        keep: bool = True,
    ) -> tuple[Floats, Past]:
        """Logits of the wanted tokens, and the past with all of them; without `keep`, as it was.

        Without positions and a mask, the tokens follow one another behind the past. Every token
        sees all of the past; `own_mask` is about the tokens of this run.
        """
        count, before = len(tokens), past.tokens
        if positions is None:
            positions = np.arange(before, before + count)
        mask = np.zeros((count, before + count), np.float32)
        mask[:, before:] = causal(count) if own_mask is None else own_mask
        feeds: dict[str, NDArray[np.generic]] = {
            "tokens": np.asarray(tokens, np.int64),
            "positions": positions,
            "mask": mask,
            "wanted": np.asarray(wanted, np.int64) % count,
        }
        feeds.update(zip(self._past_names, past.arrays, strict=True))
        try:
            logits, *arrays = self._session.run(self._names if keep else self._names[:1], feeds)
        except _FAILURES as error:
            raise ServerFailed(f"ONNX Runtime failed: {error}") from error
        if not np.isfinite(logits).all():
            raise MalformedAnswer(Flaw.NOT_FINITE, "the model computed logits that are no numbers")
        return logits, Past(arrays) if keep else past


def causal(count: int) -> Floats:
    """Each token sees itself and those before it."""
    return np.triu(np.full((count, count), NOT_SEEN, np.float32), k=1)


def logprobs(logits: Floats) -> NDArray[np.float64]:
    """Of all tokens, row by row."""
    shifted = (logits - logits.max(axis=-1, keepdims=True)).astype(np.float64)
    result: NDArray[np.float64] = shifted - _log_sum(logits)
    return result


def picked_logprobs(logits: Floats, tokens: Integers) -> NDArray[np.float64]:
    """Of one token for each row."""
    picked = np.take_along_axis(logits, tokens[:, None], axis=-1) - logits.max(-1, keepdims=True)
    result: NDArray[np.float64] = (picked.astype(np.float64) - _log_sum(logits))[:, 0]
    return result


def _log_sum(logits: Floats) -> NDArray[np.float64]:
    """Exponentials in float32, for speed; their sum in float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: NDArray[np.float64] = np.log(powers.sum(axis=-1, keepdims=True, dtype=np.float64))
    return total
