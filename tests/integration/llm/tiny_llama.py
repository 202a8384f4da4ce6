"""A Llama with random weights and a tokenizer of bytes, written without torch: about 1 MB.

It says nothing sensible. What it is for: a real server that must tokenize, render its chat
template, score and sample exactly as its protocol says.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

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

HIDDEN, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 2, 128, 2048


def write_tiny_llama(folder: Path, seed: int = 7) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *_byte_letters(), *LABELS]
    _write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": HIDDEN,
            "intermediate_size": FEED_FORWARD,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "head_dim": HIDDEN // HEADS,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "dtype": "float32",
        },
    )
    # What a server takes over from here would bend log-probs if a request did not override it.
    _write_json(
        folder / "generation_config.json",
        {"eos_token_id": 2, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.1},
    )
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
    _write_weights(folder / "model.safetensors", len(vocabulary), np.random.default_rng(seed))
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


def _write_weights(path: Path, vocabulary: int, random: np.random.Generator) -> None:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{at}.self_attn.{name}.weight"] = (HIDDEN, HIDDEN)
        for name in ("gate_proj", "up_proj"):
            shapes[f"{at}.mlp.{name}.weight"] = (FEED_FORWARD, HIDDEN)
        shapes[f"{at}.mlp.down_proj.weight"] = (HIDDEN, FEED_FORWARD)
        shapes[f"{at}.input_layernorm.weight"] = (HIDDEN,)
        shapes[f"{at}.post_attention_layernorm.weight"] = (HIDDEN,)
    shapes["model.norm.weight"] = (HIDDEN,)

    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in shapes.items():
        is_norm = len(shape) == 1
        values = np.ones(shape) if is_norm else random.normal(0, 0.35, shape)
        raw = values.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
