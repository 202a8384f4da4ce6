"""Random heads, prompts and layers: what the experiments draw."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lab.dual.head import ROPE_BASE, Array, Head, Reading, Which
from lab.dual.layer import Weights

INPUT_WIDTH = 11  # d_i of the paper's Figure 8
INSTRUCTION, LEAD = 15, 2  # N_T and k


@dataclass(frozen=True)
class Sizes:
    """A prompt [X_T][X_D][lead]: the lead belongs to the instruction, and its last token asks.

    `logit_scale` is the standard deviation of q . k / sqrt d over random tokens.
    """

    demonstration: int = 15
    width: int = 1  # d_o of the paper, head_dim
    instruction: int = INSTRUCTION
    lead: int = LEAD
    input_width: int = INPUT_WIDTH
    logit_scale: float = 1.0

    @property
    def marks(self) -> Which:
        marks = np.zeros(self.instruction + self.demonstration + self.lead, dtype=np.bool_)
        marks[self.instruction : self.instruction + self.demonstration] = True
        return marks


def draw_head(rng: np.random.Generator, sizes: Sizes) -> Head:
    """Keys, queries and values have entries of variance one, but for the scale of the logits."""

    def matrix() -> Array:
        drawn: Array = rng.standard_normal((sizes.width, sizes.input_width))
        return drawn / math.sqrt(sizes.input_width)

    root = math.sqrt(sizes.logit_scale)
    return Head(root * matrix(), root * matrix(), matrix(), ROPE_BASE)


def draw_tokens(rng: np.random.Generator, sizes: Sizes) -> Array:
    return rng.standard_normal((len(sizes.marks), sizes.input_width))


def draw_reading(rng: np.random.Generator, sizes: Sizes) -> Reading:
    return draw_head(rng, sizes).read(draw_tokens(rng, sizes), sizes.marks)


def draw_layer(
    rng: np.random.Generator,
    *,
    heads: int = 4,
    kv_heads: int = 2,
    head_width: int = 8,
    logit_scale: float = 3.0,
) -> Weights:
    width = heads * head_width
    inner = 2 * width

    def matrix(*shape: int) -> Array:
        drawn: Array = rng.standard_normal(shape)
        return drawn / math.sqrt(shape[-1])

    return Weights(
        norm=1 + 0.1 * rng.standard_normal(width),
        query=logit_scale * matrix(heads, head_width, width),
        key=matrix(kv_heads, head_width, width),
        value=matrix(kv_heads, head_width, width),
        output=matrix(heads, width, head_width) / np.sqrt(heads),
        mlp_norm=1 + 0.1 * rng.standard_normal(width),
        gate=matrix(inner, width),
        up=matrix(inner, width),
        down=matrix(width, inner),
    )


def without_demonstration(reading: Reading) -> Reading:
    """The trivial baseline: every demonstration left out."""
    kept = ~reading.demonstration
    return replace(
        reading,
        keys=reading.keys[kept],
        values=reading.values[kept],
        demonstration=reading.demonstration[kept],
    )
