"""A trained model as Hugging Face files: config.json, model.safetensors, and the tokenizer's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lab.mini.model import NORM_EPSILON, Mini, Shape
from lab.mini.tokenizer import END, PAD, MiniTokenizer

WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoint.pt"


def load_checkpoint(folder: Path) -> tuple[Mini, MiniTokenizer, dict[str, Any]]:
    """The model in float32, its tokenizer, and all that the checkpoint says of the training."""
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    model = Mini(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval(), MiniTokenizer.load(folder), state


def write_hugging_face(model: Mini, tokenizer: MiniTokenizer, folder: Path) -> None:
    tokenizer.save(folder)
    weights = {
        _their_name(name): weight.detach().to(torch.float16).contiguous()
        for name, weight in model.named_parameters()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # it would be its owner's alone
    _write(folder / "config.json", _config(model.shape, tokenizer))
    _write(
        folder / "generation_config.json",
        {"eos_token_id": tokenizer.id(END), "pad_token_id": tokenizer.id(PAD)},
    )


def _their_name(name: str) -> str:
    return "model.embed_tokens.weight" if name == "embed_tokens" else f"model.{name}"


def _config(shape: Shape, tokenizer: MiniTokenizer) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
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
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.id(END),
        "pad_token_id": tokenizer.id(PAD),
        "dtype": "float16",
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
