"""One attention function, registered with transformers, for every model that asks it for its own:
Llama, Qwen2, Qwen3, Phi3, Mistral and others. It is given queries and keys behind their rotation.

What it does with them is up to the reader that a call brings along: `model(ids, reader=...)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "lrgd"


class Reader(Protocol):
    """Computes the outputs of all heads of a layer. `query` and what is returned: rows, heads,
    queries, head width; `key` and `value` likewise, repeated for the heads of their group; `mask`
    is added to the logits."""

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Called layer by layer."""


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float,
    reader: Reader,
    **_: Any,
) -> tuple[Tensor, None]:
    del module
    # Grouped queries: query head s reads key head s // (heads / key heads).
    group = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(group, dim=1) for one in (key, value))
    heads = reader.read(query, key, value, attention_mask, scaling)
    return heads.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, eager_mask)


def weights_of(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """kappa of all queries and keys, the maximum of each query subtracted; and Z."""
    logits = query @ key.transpose(-1, -2) * scale + mask
    weights = torch.exp(logits - logits.amax(-1, keepdim=True))
    return weights, weights.sum(-1, keepdim=True)


@dataclass
class Parts:
    """T and D of every layer and head, summed apart, for all queries. `demonstration` says which
    keys are D. What the model goes on with is their sum and nothing else."""

    demonstration: Tensor
    instruction_parts: list[Tensor] = field(default_factory=list)
    demonstration_parts: list[Tensor] = field(default_factory=list)
    logit_scales: list[float] = field(default_factory=list)

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        weights, z = weights_of(query, key, mask, scale)
        instruction, demonstrated = (
            (weights * which.to(weights.dtype)) @ value / z
            for which in (~self.demonstration, self.demonstration)
        )
        self.instruction_parts.append(instruction)
        self.demonstration_parts.append(demonstrated)
        seen = (query @ key.transpose(-1, -2) * scale)[..., -1, :]
        self.logit_scales.append(float(seen.std(-1).mean()))
        return instruction + demonstrated

    @property
    def heads(self) -> list[Tensor]:
        """T + D by layer."""
        return [
            one + other
            for one, other in zip(self.instruction_parts, self.demonstration_parts, strict=True)
        ]
