"""One attention head with rotary positions; its output, parted by whose keys were read.

Rows are tokens. The tokens of a prompt are instruction (T) or demonstration (D), and the query is
the last token: the one behind which the model goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Which = NDArray[np.bool_]

ROPE_BASE = 10_000.0


@dataclass(frozen=True)
class Head:
    """W_q, W_k (d x d_i) and W_v (d_o x d_i). Without a base, positions are not told."""

    to_query: Array
    to_key: Array
    to_value: Array
    rope_base: float | None = ROPE_BASE

    def read(self, tokens: Array, demonstration: Which) -> Reading:
        """What the last token reads: k_i = R_i W_k x_i, q = R_t W_q x_t, v_i = W_v x_i."""
        places = np.arange(len(tokens))
        keys, query = tokens @ self.to_key.T, tokens[-1:] @ self.to_query.T
        if self.rope_base is not None:
            keys = rotated(keys, places, self.rope_base)
            query = rotated(query, places[-1:], self.rope_base)
        return Reading(query[0], keys, tokens @ self.to_value.T, demonstration)


def rotated(vectors: Array, places: NDArray[np.int64], base: float = ROPE_BASE) -> Array:
    """R_i: coordinate j turns with coordinate j + d/2. An odd last coordinate stays as it is, so
    with d = 1, as in the paper's Figure 8, there is nothing to turn."""
    pairs = vectors.shape[1] // 2
    angles = places[:, np.newaxis] * base ** (-np.arange(pairs) / max(1, pairs))
    cosines, sines = np.cos(angles), np.sin(angles)
    one, other = vectors[:, :pairs], vectors[:, pairs : 2 * pairs]
    turned = (one * cosines - other * sines, other * cosines + one * sines)
    return np.concatenate((*turned, vectors[:, 2 * pairs :]), axis=1)


@dataclass(frozen=True)
class Reading:
    """A query and what it attends to; `demonstration` says which keys are D."""

    query: Array
    keys: Array
    values: Array
    demonstration: Which

    @cached_property
    def logits(self) -> Array:
        logits: Array = self.keys @ self.query / np.sqrt(len(self.query))
        return logits

    @property
    def attended(self) -> Array:
        """h the usual way, over all keys at once: what everything here is compared with."""
        weights = np.exp(self.logits - self.logits.max())
        output: Array = weights @ self.values / weights.sum()
        return output

    @property
    def instruction_part(self) -> Part:
        return self.part(~self.demonstration)

    @property
    def demonstration_part(self) -> Part:
        return self.part(self.demonstration)

    def part(self, which: Which) -> Part:
        logits, values = self.logits[which], self.values[which]
        if not len(logits):
            return Part(-np.inf, np.zeros(self.values.shape[1]), 0.0)
        shift = float(logits.max())
        weights = np.exp(logits - shift)
        return Part(shift, weights @ values, float(weights.sum()))


@dataclass(frozen=True)
class Part:
    """What some keys contribute to an output before it is normalized: sum of v_i kappa(k_i, q),
    and their share of Z(q), sum of kappa(k_i, q); both times exp(-shift), so that nothing
    overflows.

    This is form A of the dual, c-free: parts add up in any order, appending a token is adding a
    part, and only reading an output divides.
    """

    shift: float
    total: Array
    mass: float

    def __add__(self, other: Part) -> Part:
        shift = max(self.shift, other.shift)
        if shift == -np.inf:
            return self
        mine, theirs = np.exp(self.shift - shift), np.exp(other.shift - shift)
        return Part(
            shift,
            mine * self.total + theirs * other.total,
            float(mine * self.mass + theirs * other.mass),
        )

    @property
    def output(self) -> Array:
        return self.total / self.mass

    def within(self, whole: Part) -> Array:
        """c times the sum over these keys, with the c of the whole: T or D of h = T + D."""
        share: float = math.exp(self.shift - whole.shift) / whole.mass
        return share * self.total
