"""A lean Llama. Its weights are those of Hugging Face's LlamaForCausalLM, name by name; of another
family `lab.mini.hugging_face` names and joins them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.mini.families import Family

NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int = 192
    layers: int = 4
    heads: int = 6
    inner: int = 512
    longest: int = 2_048
    rope_theta: float = 1e6
    family: Family = Family.LLAMA

    def __post_init__(self) -> None:
        """A checkpoint has the family by its name alone."""
        object.__setattr__(self, "family", Family(self.family))

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Norm(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + NORM_EPSILON) * self.weight


class Linear(nn.Module):  # type: ignore[misc]
    """Computes in the type of its input; the weights stay in float32."""

    def __init__(self, wide_in: int, wide_out: int, *, biased: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(wide_out, wide_in))
        self.bias = nn.Parameter(torch.zeros(wide_out)) if biased else None

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, self.weight.to(x.dtype), bias)


class Attention(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj, self.k_proj, self.v_proj = (
            Linear(shape.width, shape.width, biased=shape.family.biased) for _ in range(3)
        )
        self.o_proj = Linear(shape.width, shape.width)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`mask` is added to the scores; `past` and what is returned are keys and values."""
        rows, length, _ = x.shape
        shape = self.shape
        query, key, value = (
            project(x).view(rows, length, shape.heads, shape.head_width).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _turned(query, turn), _turned(key, turn)
        if past is not None:
            key, value = torch.cat((past[0], key), 2), torch.cat((past[1], value), 2)
        # By hand: for sequences this short it is faster on a CPU than the fused attention.
        scores = (query @ key.transpose(-1, -2)).float() * shape.head_width**-0.5 + mask
        seen = torch.softmax(scores, -1).to(value.dtype) @ value
        mixed = seen.transpose(1, 2).reshape(rows, length, shape.width)
        return self.o_proj(mixed), torch.stack((key, value))


class Mlp(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.width, shape.inner)
        self.up_proj = Linear(shape.width, shape.inner)
        self.down_proj = Linear(shape.inner, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.input_layernorm = Norm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.width)
        self.mlp = Mlp(shape)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        mask: Tensor,
        past: Tensor | None,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        mixed, kept = self.self_attn(self.input_layernorm(x).to(dtype), turn, mask, past)
        x = x + self._thinned(mixed.float())
        said = self.mlp(self.post_attention_layernorm(x).to(dtype)).float()
        return x + self._thinned(said), kept

    def _thinned(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


class Mini(nn.Module):  # type: ignore[misc]
    """Token ids to final states; `logits` of states are their products with the embeddings."""

    cosines: Tensor
    sines: Tensor
    causal: Tensor

    def __init__(
        self, shape: Shape, dtype: torch.dtype = torch.float32, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape = shape
        self.dtype = dtype  # of the matrix products; everything else is in float32
        self.dropout = dropout
        self.embed_tokens = nn.Parameter(torch.empty(shape.vocabulary, shape.width))
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        speeds = shape.rope_theta ** (-torch.arange(0, shape.head_width, 2) / shape.head_width)
        angles = torch.outer(torch.arange(shape.longest).float(), speeds).repeat(1, 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        blocked = torch.full((1_024, 1_024), -1e9).triu(1)
        self.register_buffer("causal", blocked, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """States of whole sequences, each token seeing those before it."""
        length = ids.shape[1]
        turn = (self.cosines[:length], self.sines[:length])
        return self._states(ids, turn, self.causal[:length, :length], None)[0]

    def packed(
        self, ids: Tensor, positions: Tensor, mask: Tensor, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """States under any mask (added to the scores), behind keys and values of the past.

        `past` and what is kept: layers, keys and values, rows, heads, length, head width.
        """
        turn = (self.cosines[positions].unsqueeze(1), self.sines[positions].unsqueeze(1))
        states, kept = self._states(ids, turn, mask, past)
        return states, torch.stack(kept)

    def logits(self, states: Tensor) -> Tensor:
        return states @ self.embed_tokens.T

    def _states(
        self, ids: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        x = self.embed_tokens[ids]
        if self.dropout:
            x = functional.dropout(x, self.dropout, self.training)
        kept = []
        for number, layer in enumerate(self.layers):
            x, new = layer(x, turn, mask, None if past is None else past[number], self.dtype)
            kept.append(new)
        return self.norm(x), kept


def prepare(model: Mini) -> None:
    """Initial weights. What leaves an attention points back to where its values came from
    (`o_proj` is a tenth of `v_proj` turned around): so the cue finds the labels that it attends to.
    Without that it does not learn to say them within the tokens that a CPU can afford.
    """
    shape = model.shape
    scale = float(shape.width**-0.5)
    with torch.no_grad():
        model.embed_tokens.normal_(0, scale)
        for layer in model.layers:
            assert isinstance(layer, Layer)
            attention, mlp = layer.self_attn, layer.mlp
            for part in (attention.q_proj, attention.k_proj, attention.v_proj):
                part.weight.normal_(0, scale)
            attention.o_proj.weight.copy_(0.1 * attention.v_proj.weight.T)
            for part in (mlp.gate_proj, mlp.up_proj):
                part.weight.normal_(0, scale)
            mlp.down_proj.weight.normal_(0, 0.1 * float(shape.inner**-0.5))


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    half = x.shape[-1] // 2
    flipped = torch.cat((-x[..., half:], x[..., :half]), -1)
    return (x.float() * turn[0] + flipped.float() * turn[1]).to(x.dtype)
