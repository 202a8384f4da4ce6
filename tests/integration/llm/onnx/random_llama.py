"""A Llama with random weights, of any shape, with a tokenizer of bytes and a graph: about 1 MB.

It says nothing sensible. What it is for: what must hold to the last bit, for any weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lab.mini.onnx_graph import write_graph

LABELS = tuple(f"[{number}]" for number in range(1, 129))
SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|turn|>")

# It can be made to think, so that switching thinking off can be seen.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|turn|>{{ message.role }}
{{ message.content }}<|end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|turn|>assistant
{% if enable_thinking is defined and enable_thinking -%}
<think>
{% endif -%}
{%- endif -%}"""

# Query heads in pairs over shared keys, as larger models have them.
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
CONTEXT = 2048


def write_random_llama(
    folder: Path, shape: Mapping[str, int] = GROUPED, *, seed: int = 3, dtype: str = "F16"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *_byte_letters(), *LABELS]
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        **GROUPED,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": {"F16": "float16", "F32": "float32"}[dtype],
        **shape,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", {"eos_token_id": 2})
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin|>",
            "eos_token": "<|end|>",
            "pad_token": "<|pad|>",
            "clean_up_tokenization_spaces": False,
            "model_max_length": CONTEXT,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    _write_json(folder / "tokenizer.json", _tokenizer(vocabulary))
    _write_weights(folder / "model.safetensors", config, np.random.default_rng(seed), dtype)
    write_graph(folder)
    return folder


def _tokenizer(vocabulary: list[str]) -> dict[str, object]:
    added = [
        {
            "id": vocabulary.index(text),
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": text in SPECIAL,
        }
        for text in (*SPECIAL, *LABELS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "trim_offsets": True},
        "post_processor": None,
        "decoder": {**byte_level, "trim_offsets": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: number for number, text in enumerate(vocabulary)},
            "merges": [],
        },
    }


def _byte_letters() -> list[str]:
    """The letters by which byte-level tokenizers write the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


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


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
