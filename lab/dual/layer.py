"""Whole decoder layers: the parts of every head, grouped queries, the layer around them, depth.

A layer is Llama's: norm, attention, norm, gated MLP, each half with its residual. The theory holds
at the query position, the last one; the other tokens are computed as always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.dual.head import ROPE_BASE, Array, Head, Reading, Which, rotated

EPSILON = 1e-6


@dataclass(frozen=True)
class Weights:
    """By head: `query` (heads, d, width), `key` and `value` (kv heads, d, width), `output` (heads,
    width, d). `gate` and `up` (inner, width), `down` (width, inner)."""

    norm: Array
    query: Array
    key: Array
    value: Array
    output: Array
    mlp_norm: Array
    gate: Array
    up: Array
    down: Array
    rope_base: float = ROPE_BASE

    @property
    def heads(self) -> int:
        return len(self.query)

    def group_of(self, head: int) -> int:
        """Grouped queries: the key and value head that a query head reads."""
        return head // (self.heads // len(self.key))


@dataclass(frozen=True)
class Split:
    """Of each head s: W_O^(s) T^(s) and W_O^(s) D^(s). c is per head: nothing is shared."""

    instruction: Array  # heads x width
    demonstration: Array

    @property
    def attended(self) -> Array:
        total: Array = (self.instruction + self.demonstration).sum(axis=0)
        return total


def split(weights: Weights, tokens: Array, demonstration: Which) -> Split:
    """Multi-head attention at the last token: the sum over heads of W_O^(s) (T^(s) + D^(s)).

    Keys are parted by position. From the second layer on, an instruction token behind the
    demonstration has itself attended to it: D is what is read at its positions, not all it causes.
    """
    seen = normed(tokens, weights.norm)
    read = [_head(weights, head).read(seen, demonstration) for head in range(weights.heads)]
    parts = [(one.instruction_part, one.demonstration_part) for one in read]
    written = [
        [matrix @ part.within(both[0] + both[1]) for part in both]
        for matrix, both in zip(weights.output, parts, strict=True)
    ]
    instruction, demonstrated = np.array(written).transpose(1, 0, 2)
    return Split(instruction, demonstrated)


def _head(weights: Weights, head: int) -> Head:
    group = weights.group_of(head)
    return Head(weights.query[head], weights.key[group], weights.value[group], weights.rope_base)


@dataclass(frozen=True)
class Frozen:
    """A = I + W_down S W_up N with the norm N and the gate pattern S as they are at one point.

    There A (x + attended) is the layer's output, exactly. Elsewhere it is not: what A gives for
    x + T alone says which share D has in this output, not what the output would be without D.
    """

    matrix: Array

    @classmethod
    def at(cls, weights: Weights, residual: Array) -> Frozen:
        """`residual` is r = x + sum of W_O h, what enters the second norm."""
        norm = weights.mlp_norm / np.sqrt((residual**2).mean() + EPSILON)
        pattern = silu(weights.gate @ (norm * residual))
        inner = (weights.down * pattern) @ (weights.up * norm)
        return cls(np.eye(len(residual)) + inner)

    def __call__(self, residual: Array) -> Array:
        output: Array = self.matrix @ residual
        return output


def dual_output(weights: Weights, tokens: Array, demonstration: Which) -> Array:
    """The layer's output at the last token, from the parts of its heads."""
    residual = tokens[-1] + split(weights, tokens, demonstration).attended
    return Frozen.at(weights, residual)(residual)


def forward(weights: Weights, tokens: Array) -> Array:
    """The layer as a model computes it, all tokens at once: the reference."""
    seen = normed(tokens, weights.norm)
    places = np.arange(len(tokens))
    future = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    attended = np.zeros_like(tokens)
    for head in range(weights.heads):
        group = weights.group_of(head)
        query = rotated(seen @ weights.query[head].T, places, weights.rope_base)
        key = rotated(seen @ weights.key[group].T, places, weights.rope_base)
        logits = query @ key.T / np.sqrt(query.shape[1]) + future
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        attended += shares @ (seen @ weights.value[group].T) @ weights.output[head].T
    residual = tokens + attended
    inner = normed(residual, weights.mlp_norm)
    return residual + (silu(inner @ weights.gate.T) * (inner @ weights.up.T)) @ weights.down.T


def stack(layers: Sequence[Weights], tokens: Array) -> Array:
    for weights in layers:
        tokens = forward(weights, tokens)
    return tokens


def dual_stack(layers: Sequence[Weights], tokens: Array, demonstration: Which) -> Array:
    """All layers, at each position from its own parts: every token is the last of its prefix."""
    for weights in layers:
        tokens = np.stack(
            [
                dual_output(weights, tokens[: last + 1], demonstration[: last + 1])
                for last in range(len(tokens))
            ]
        )
    return tokens


def without_demonstration(weights: Weights, tokens: Array, demonstration: Which) -> Array:
    """What the layer truly says at the last token when the keys of D cannot be read: c changes for
    every head, the norm, and the gates."""
    seen = normed(tokens, weights.norm)
    residual = tokens[-1].copy()
    for head in range(weights.heads):
        reading: Reading = _head(weights, head).read(seen, demonstration)
        residual += weights.output[head] @ reading.instruction_part.output
    return Frozen.at(weights, residual)(residual)


def normed(tokens: Array, scale: Array) -> Array:
    """RMSNorm, by row."""
    values: Array = scale * tokens / np.sqrt((tokens**2).mean(axis=-1, keepdims=True) + EPSILON)
    return values


def silu(values: Array) -> Array:
    activated: Array = values / (1 + np.exp(-values))
    return activated
