"""Tiny models of real architectures, with logits of a scale that trained models have; lrgd-mini."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from lab.dual import registered
from services.settings import SHIPPED_MODEL

VOCABULARY = 256
HEADS, KEY_HEADS, HEAD_WIDTH = 4, 2, 16
INNER = 96
WINDOW = 40  # of Mistral, whose queries read no further back
# Standard deviation of a query's logits. What a library draws by itself has next to none: every
# query then reads all keys alike, and every approximation looks well.
LOGIT_SCALE = 3.0


class Family(StrEnum):
    LLAMA = "llama"
    QWEN2 = "qwen2"
    QWEN3 = "qwen3"
    PHI3 = "phi3"
    MISTRAL = "mistral"


_CLASSES = {
    Family.LLAMA: ("LlamaConfig", "LlamaForCausalLM"),
    Family.QWEN2: ("Qwen2Config", "Qwen2ForCausalLM"),
    Family.QWEN3: ("Qwen3Config", "Qwen3ForCausalLM"),
    Family.PHI3: ("Phi3Config", "Phi3ForCausalLM"),
    Family.MISTRAL: ("MistralConfig", "MistralForCausalLM"),
}


def tiny(
    family: Family,
    layers: int,
    dtype: torch.dtype,
    *,
    seed: int = 0,
    logit_scale: float | None = LOGIT_SCALE,
) -> Any:
    """The library's own model with its own attention (sdpa). `logit_scale` None: and with the
    weights that the library draws."""
    config_class, model_class = (getattr(transformers, name) for name in _CLASSES[family])
    config = config_class(
        vocab_size=VOCABULARY,
        hidden_size=HEADS * HEAD_WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        head_dim=HEAD_WIDTH,
        max_position_embeddings=512,
        sliding_window=WINDOW if family is Family.MISTRAL else None,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    torch.manual_seed(len(Family) * seed + list(Family).index(family))
    model = model_class(config).eval()
    if logit_scale is not None:
        _draw(model, logit_scale)
    return model.to(dtype)


def lrgd_mini(dtype: torch.dtype, folder: Path = SHIPPED_MODEL) -> Any:
    """The model that ships, in transformers' own Llama."""
    transformers.utils.logging.disable_progress_bar()
    model = transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa"
    )
    return model.eval()


def _draw(model: Any, logit_scale: float) -> None:
    """Entries of queries, keys and values have variance one, but for the scale of the logits. What
    layers add to the residual is scaled by their number, as GPT-2 and those after it begin."""
    depth = (2 * len(model.model.layers)) ** -0.5
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
        if name.endswith(("o_proj", "down_proj")):
            module.weight.data.mul_(depth)
        if name.endswith("q_norm"):  # Qwen3 norms queries behind their projection
            nn.init.constant_(module.weight, logit_scale)
        elif name.endswith("q_proj"):
            module.weight.data.mul_(logit_scale)
        elif name.endswith("qkv_proj"):  # Phi3 has them in one
            module.weight.data[: HEADS * HEAD_WIDTH].mul_(logit_scale)


# --- running --------------------------------------------------------------------------------------


def norms_in_float64(model: nn.Module) -> None:
    """transformers computes norms in float32 whatever the model's type. There an error of 1e-16 is
    rounded away, and once in a while it changes the rounding and becomes one of 1e-8: a float64
    comparison would say nothing."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = _ExactNorm(module)


class _ExactNorm:
    def __init__(self, norm: Any) -> None:
        self._weight = norm.weight
        self._epsilon = norm.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        size = x.pow(2).mean(-1, keepdim=True) + self._epsilon
        normed: Tensor = self._weight * (x * torch.rsqrt(size))
        return normed


@contextlib.contextmanager
def reading_by(model: Any) -> Iterator[None]:
    """Meanwhile the model's attention is the registered one."""
    before = model.config._attn_implementation  # noqa: SLF001 - the library's own switch
    model.set_attn_implementation(registered.NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def heads_of(model: Any, ids: Tensor) -> tuple[list[Tensor], Tensor]:
    """Of a model as it is: the outputs of all heads by layer (rows, heads, tokens, width), seen
    where they enter the output projection; and the logits."""
    seen: list[Tensor] = []
    projections = [layer.self_attn.o_proj for layer in model.model.layers]
    handles = [
        one.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for one in projections
    ]
    try:
        with torch.no_grad():
            logits = model(ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    heads = model.config.num_attention_heads
    return [one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in seen], logits
