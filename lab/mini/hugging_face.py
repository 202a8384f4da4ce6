"""A trained model as Hugging Face files: config.json, model.safetensors, and the tokenizer's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lab.mini.families import Family
from lab.mini.model import NORM_EPSILON, Mini, Shape
from lab.mini.tokenizer import END, PAD, MiniTokenizer

WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoint.pt"
_JOINED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}


def load_checkpoint(folder: Path) -> tuple[Mini, MiniTokenizer, dict[str, Any]]:
    """The model in float32, its tokenizer, and all that the checkpoint says of the training."""
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    model = Mini(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval(), MiniTokenizer.load(folder), state


def write_hugging_face(model: Mini, tokenizer: MiniTokenizer, folder: Path) -> None:
    tokenizer.save(folder)
    save_file(_weights(model), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # it would be its owner's alone
    _write(folder / "config.json", _config(model.shape, tokenizer))
    _write(
        folder / "generation_config.json",
        {"eos_token_id": tokenizer.id(END), "pad_token_id": tokenizer.id(PAD)},
    )


def _weights(model: Mini) -> dict[str, Tensor]:
    """As the family names them, and with those in one that it stores as one."""
    weights = {
        _their_name(name): weight.detach().to(torch.float16).contiguous()
        for name, weight in model.named_parameters()
    }
    if model.shape.family.fused:
        for layer in range(model.shape.layers):
            for joined, parts in _JOINED.items():
                names = [f"model.layers.{layer}.{part}.weight" for part in parts]
                weights[f"model.layers.{layer}.{joined}.weight"] = torch.cat(
                    [weights.pop(name) for name in names]
                )
    return weights


def _their_name(name: str) -> str:
    return "model.embed_tokens.weight" if name == "embed_tokens" else f"model.{name}"


def _config(shape: Shape, tokenizer: MiniTokenizer) -> dict[str, Any]:
    return {
        "architectures": [shape.family.architecture],
        "model_type": shape.family.value,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": shape.longest,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        **_own_settings(shape),
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.id(END),
        "pad_token_id": tokenizer.id(PAD),
        "dtype": "float16",
    }


def _own_settings(shape: Shape) -> dict[str, Any]:
    """Of the family alone. Windows are off in all of them: the contexts here are shorter than the
    windows of the models that have one, so that it would hide nothing."""
    match shape.family:
        case Family.LLAMA:
            return {"attention_bias": False, "mlp_bias": False}
        case Family.QWEN2:
            return {"use_sliding_window": False, "sliding_window": None}
        case Family.PHI3:
            return {
                "original_max_position_embeddings": shape.longest,
                "partial_rotary_factor": 1.0,
                "sliding_window": None,
            }
        case Family.MISTRAL:
            return {"sliding_window": None}


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
