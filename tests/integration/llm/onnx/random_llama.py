"""A Llama with random weights, of any shape, with the tokenizer of the tiny one and a graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lab.mini.onnx_graph import write_graph
from tests.integration.llm import tiny_llama

# Query heads in pairs over shared keys, as larger models have them.
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}


def write_random_llama(
    folder: Path, shape: Mapping[str, int] = GROUPED, *, seed: int = 3, dtype: str = "F16"
) -> Path:
    tiny_llama.write_tiny_llama(folder)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {**GROUPED, "rope_theta": 1e6, **shape}
    config["dtype"] = {"F16": "float16", "F32": "float32"}[dtype]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _write_weights(folder / "model.safetensors", config, np.random.default_rng(seed), dtype)
    write_graph(folder)
    return folder


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, feed_forward = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        "model.norm.weight": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (width,),
            f"{at}.self_attn.q_proj.weight": (queries, width),
            f"{at}.self_attn.k_proj.weight": (keys, width),
            f"{at}.self_attn.v_proj.weight": (keys, width),
            f"{at}.self_attn.o_proj.weight": (width, queries),
            f"{at}.post_attention_layernorm.weight": (width,),
            f"{at}.mlp.gate_proj.weight": (feed_forward, width),
            f"{at}.mlp.up_proj.weight": (feed_forward, width),
            f"{at}.mlp.down_proj.weight": (width, feed_forward),
        }
    return shapes


def _write_weights(
    path: Path, config: dict[str, Any], random: np.random.Generator, dtype: str
) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in _shapes(config).items():
        if len(shape) == 1:
            values = random.normal(1, 0.1, shape)
        else:
            spread = 0.2 if "embed" in name else 1.5 * shape[1] ** -0.5
            values = random.normal(0, spread, shape)
        raw = values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        data += raw
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
