"""The ONNX graph of a small Llama, or of a Qwen2, Phi3 or Mistral, which compute nearly the same;
written without torch beside its Hugging Face files.

The graph holds no weights: its initializers point into `model.safetensors`, by offset, in whatever
type they are stored there (float16 or float32). ONNX Runtime casts them to float32 once, when the
session is made, so one weight file serves both engines.

One run computes `n` tokens behind a past of `p` tokens:

    tokens     [n]            int64
    positions  [n]            int64, of each token; tokens need not be in a row
    mask       [n, p + n]     float32, added to the attention scores: 0 sees, -1e9 does not see
    wanted     [w]            int64, which of the n tokens to compute logits for
    past_key_<layer>, past_value_<layer>   [kv heads, p, head width]
    ->
    logits     [w, vocabulary]
    key_<layer>, value_<layer>             [kv heads, p + n, head width]

Plain operators throughout: measured beside ONNX's own Attention and ONNX Runtime's
MultiHeadAttention on one thread, they were the fastest and the only ones whose results were the
same to the bit however a prompt was cut into runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from lab.mini.families import Family

GRAPH = "model.onnx"
WEIGHTS = "model.safetensors"
OPSET = 23  # the first with RMSNormalization
IR_VERSION = 11
_TYPES = {"F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT, "BF16": TensorProto.BFLOAT16}
_EMBEDDING = "model.embed_tokens.weight"
_OTHERS = ", ".join(family for family in Family if family is not Family.LLAMA)


class UnfitModel(ValueError):
    """The folder holds a model that this graph is not for."""


def write_graph(folder: Path) -> Path:
    """Writes `model.onnx` into a folder with `config.json` and `model.safetensors`."""
    shape = Shape.of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    path = folder / GRAPH
    path.write_bytes(_Graph(shape, folder / WEIGHTS).model().SerializeToString())
    return path


@dataclass(frozen=True)
class Shape:
    family: Family
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    epsilon: float
    rope_theta: float

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        fit = {
            f"a Llama's layers, or those of {_OTHERS}": config.get("model_type") in set(Family),
            "tied embeddings": bool(config.get("tie_word_embeddings")),
            "SiLU": config.get("hidden_act", "silu") == "silu",
            "no biases": not (config.get("attention_bias") or config.get("mlp_bias")),
            "plain rotary positions": rope.get("rope_type", "default") == "default"
            and _turned_share(config, rope) == 1,
            "no window": _window(config) is None,
        }
        lacking = [name for name, is_so in fit.items() if not is_so]
        if lacking:
            raise UnfitModel(f"the graph is for models with {', '.join(lacking)}")
        heads = config["num_attention_heads"]
        return cls(
            family=Family(config["model_type"]),
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary=config["vocab_size"],
            epsilon=config["rms_norm_eps"],
            rope_theta=rope.get("rope_theta") or config.get("rope_theta") or 10_000.0,
        )


def _turned_share(config: dict[str, Any], rope: dict[str, Any]) -> float:
    """The share of a head that is turned by its position."""
    share: float = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    return share


def _window(config: dict[str, Any]) -> int | None:
    """Tokens that a query reads back, where those are not all."""
    if config.get("model_type") == Family.QWEN2 and not config.get("use_sliding_window"):
        return None
    # What the library takes where the file says nothing.
    assumed = 4_096 if config.get("model_type") == Family.MISTRAL else None
    window: int | None = config.get("sliding_window", assumed)
    if window is None or window >= config.get("max_position_embeddings", math.inf):
        return None
    return window


class _Graph:
    """Each method adds nodes and returns the name of what they compute."""

    def __init__(self, shape: Shape, weights: Path) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._cast: dict[str, str] = {}
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._stored = json.loads(file.read(length))
        self._data_at = 8 + length

    def model(self) -> onnx.ModelProto:
        shape, value = self.shape, helper.make_tensor_value_info
        x = self.op("Gather", self.weight(_EMBEDDING), "tokens", axis=0)
        self.rotations()
        for layer in range(shape.layers):
            at = f"model.layers.{layer}"
            normed = self.norm(x, f"{at}.input_layernorm")
            x = self.op("Add", x, self.attention(normed, layer, f"{at}.self_attn"))
            normed = self.norm(x, f"{at}.post_attention_layernorm")
            x = self.op("Add", x, self.feed_forward(normed, f"{at}.mlp"))
        x = self.norm(self.op("Gather", x, "wanted", axis=0), "model.norm")
        self.op("Gemm", x, self.weight(_EMBEDDING), transB=1, name="logits")

        caches = [(kind, layer) for layer in range(shape.layers) for kind in ("key", "value")]

        def cache(name: str, length: str) -> onnx.ValueInfoProto:
            return value(name, TensorProto.FLOAT, [shape.kv_heads, length, shape.head_width])

        graph = helper.make_graph(
            self.nodes,
            shape.family.value,
            [
                value("tokens", TensorProto.INT64, ["n"]),
                value("positions", TensorProto.INT64, ["n"]),
                value("mask", TensorProto.FLOAT, ["n", "all"]),
                value("wanted", TensorProto.INT64, ["w"]),
                *(cache(f"past_{kind}_{layer}", "p") for kind, layer in caches),
            ],
            [
                value("logits", TensorProto.FLOAT, ["w", shape.vocabulary]),
                *(cache(f"{kind}_{layer}", "all") for kind, layer in caches),
            ],
            self.initializers,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )

    def attention(self, x: str, layer: int, at: str) -> str:
        shape = self.shape
        heads, kv_heads, width = shape.heads, shape.kv_heads, shape.head_width
        parts = ("qkv",) if shape.family.fused else ("q", "k", "v")
        names = [f"{at}.{part}_proj" for part in parts]
        joined = self.linear(x, *names, biased=shape.family.biased)
        sizes = self.constant(np.array([heads * width, kv_heads * width, kv_heads * width]))
        q, k, v = self.split(joined, 3, sizes, axis=1)
        q = self.op("Mul", self.rotated(q, heads), self.constant(np.float32(width**-0.5)))
        k = self.rotated(k, kv_heads)
        v = self.by_head(v, kv_heads)
        k = self.op("Concat", f"past_key_{layer}", k, axis=1, name=f"key_{layer}")
        v = self.op("Concat", f"past_value_{layer}", v, axis=1, name=f"value_{layer}")
        k = self.op("Transpose", k, perm=[0, 2, 1])
        # Query heads that look at the same keys stand below one another in one matrix.
        each = self.constant(np.array([heads, -1, 0]))
        together = self.constant(np.array([kv_heads, -1, 0]))
        q = self.op("Reshape", q, together)
        scores = self.op("Reshape", self.op("MatMul", q, k), each)
        scores = self.op("Softmax", self.op("Add", scores, "mask"), axis=-1)
        seen = self.op("MatMul", self.op("Reshape", scores, together), v)
        seen = self.op("Reshape", seen, each)
        seen = self.op("Transpose", seen, perm=[1, 0, 2])
        seen = self.op("Reshape", seen, self.constant(np.array([-1, heads * width])))
        return self.linear(seen, f"{at}.o_proj")

    def feed_forward(self, x: str, at: str) -> str:
        parts = ("gate_up",) if self.shape.family.fused else ("gate", "up")
        joined = self.linear(x, *(f"{at}.{part}_proj" for part in parts))
        gate, up = self.split(joined, 2, axis=1)
        gated = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
        return self.linear(gated, f"{at}.down_proj")

    def rotations(self) -> None:
        """Cosines and sines of the positions, for both halves of a head."""
        steps = np.arange(0, self.shape.head_width, 2, dtype=np.float32) / self.shape.head_width
        frequencies = (1.0 / self.shape.rope_theta**steps).astype(np.float32)[None]
        at = self.op("Cast", "positions", to=TensorProto.FLOAT)
        at = self.op("Unsqueeze", at, self.constant(np.array([1])))
        angles = self.op("Mul", at, self.constant(frequencies))
        cos, sin = self.op("Cos", angles), self.op("Sin", angles)
        self.op("Concat", cos, cos, axis=1, name="cos")
        self.op("Concat", self.op("Neg", sin), sin, axis=1, name="sin")

    def rotated(self, x: str, heads: int) -> str:
        x = self.by_head(x, heads)
        first, second = self.split(x, 2, axis=2)
        turned = self.op("Mul", self.op("Concat", second, first, axis=2), "sin")
        return self.op("Add", self.op("Mul", x, "cos"), turned)

    def by_head(self, x: str, heads: int) -> str:
        x = self.op("Reshape", x, self.constant(np.array([0, heads, self.shape.head_width])))
        return self.op("Transpose", x, perm=[1, 0, 2])

    def norm(self, x: str, at: str) -> str:
        weight = self.weight(f"{at}.weight")
        return self.op("RMSNormalization", x, weight, axis=-1, epsilon=self.shape.epsilon)

    def linear(self, x: str, *names: str, biased: bool = False) -> str:
        """By one matrix, or by several at once: their outputs stand side by side."""
        kinds = ("weight", "bias") if biased else ("weight",)
        return self.op("Gemm", x, *(self.joined(kind, names) for kind in kinds), transB=1)

    def joined(self, kind: str, names: Sequence[str]) -> str:
        parts = [self.weight(f"{name}.{kind}") for name in names]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def weight(self, name: str) -> str:
        """As float32. What is computed from weights alone is computed when the session is made."""
        if name in self._cast:
            return self._cast[name]
        stored = self._stored[name]
        start, end = stored["data_offsets"]
        tensor = TensorProto(
            name=name,
            data_type=_TYPES[stored["dtype"]],
            dims=stored["shape"],
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": WEIGHTS, "offset": self._data_at + start, "length": end - start}
        for key, text in place.items():
            tensor.external_data.add(key=key, value=str(text))
        self.initializers.append(tensor)
        is_float32 = tensor.data_type == TensorProto.FLOAT
        self._cast[name] = name if is_float32 else self.op("Cast", name, to=TensorProto.FLOAT)
        return self._cast[name]

    def constant(self, value: ArrayLike) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, parts: int, sizes: str | None = None, *, axis: int) -> list[str]:
        names = [f"Split_{len(self.nodes)}_{part}" for part in range(parts)]
        if sizes is None:
            node = helper.make_node("Split", [x], names, axis=axis, num_outputs=parts)
        else:
            node = helper.make_node("Split", [x, sizes], names, axis=axis)
        self.nodes.append(node)
        return names
