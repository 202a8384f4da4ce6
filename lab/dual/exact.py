"""The dual of one head, exactly: gradient descent among the functions that a kernel spans.

The paper takes a finite map phi with phi(k) . phi(q) = exp(k . q / sqrt d), and there is none. None
is needed: f(q) = W phi(q) with W = sum of a_i phi(k_i)^T is f = sum of a_i kappa(k_i, .), a
function in the vector-valued RKHS of kappa. There the paper's step gives the output of attention.
A finite map is the kernel of its own products, so the same code also runs on random features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lab.dual.head import Array, Reading

# Rows to rows: all values of the kernel between them.
Kernel = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class ExactKernel:
    """kappa(x, y) = exp(x . y / sqrt d), times exp(-shift) so that nothing overflows: a positive
    multiple of a kernel is one as well, and c takes it back."""

    shift: float = 0.0

    @classmethod
    def of(cls, reading: Reading) -> ExactKernel:
        return cls(float(reading.logits.max()))

    def __call__(self, one: Array, other: Array) -> Array:
        values: Array = np.exp(one @ other.T / np.sqrt(one.shape[1]) - self.shift)
        return values


@dataclass(frozen=True)
class Function:
    """f = sum of a_i kappa(k_i, .), with vectors a_i as coefficients."""

    kernel: Kernel
    keys: Array
    coefficients: Array

    def at(self, queries: Array) -> Array:
        return self.kernel(queries, self.keys) @ self.coefficients

    def __add__(self, other: Function) -> Function:
        """Where the other begins with the same keys they are kept once, so that a function does
        not grow when it is decayed."""
        own = len(self.keys)
        if np.array_equal(self.keys, other.keys[:own]):
            coefficients = other.coefficients.copy()
            coefficients[:own] += self.coefficients
            return replace(other, coefficients=coefficients)
        return replace(
            self,
            keys=np.concatenate((self.keys, other.keys)),
            coefficients=np.concatenate((self.coefficients, other.coefficients)),
        )

    def times(self, factor: float) -> Function:
        return replace(self, coefficients=factor * self.coefficients)

    def inner(self, other: Function) -> float:
        """Of the RKHS. With a finite map it is that of the matrices, entry by entry."""
        products = self.coefficients @ other.coefficients.T
        return float((products * self.kernel(self.keys, other.keys)).sum())

    def squared_norm(self) -> float:
        return self.inner(self)


@dataclass(frozen=True)
class Loss:
    """L(f) = -(c/beta) sum over D of <v_i, f(k_i)> + (alpha/2 beta) |f|^2, alpha = 0 but in Eq. 17.

    An inner product, no cosine similarity: with alpha = 0 it has no minimum.
    """

    demonstration: Function  # sum of v_i kappa(k_i, .) over D
    c: float
    beta: float = 1.0
    alpha: float = 0.0

    def value(self, function: Function) -> float:
        fits = function.at(self.demonstration.keys) * self.demonstration.coefficients
        decay = self.alpha / 2 * function.squared_norm() if self.alpha else 0.0
        return float(decay - self.c * fits.sum()) / self.beta

    def gradient(self, function: Function) -> Function:
        """In the RKHS: evaluating at k is the inner product with kappa(k, .)."""
        gradient = self.demonstration.times(-self.c / self.beta)
        return function.times(self.alpha / self.beta) + gradient if self.alpha else gradient

    def step(self, function: Function) -> Function:
        """f - beta grad L(f)."""
        return function + self.gradient(function).times(-self.beta)


@dataclass(frozen=True)
class Dual:
    """The start and the loss of the dual model of a head, for one query."""

    start: Function  # f_0 = c sum over T of v_i kappa(k_i, .)
    loss: Loss

    @property
    def trained(self) -> Function:
        """After one step over the whole demonstration: f_1(q) = h."""
        return self.loss.step(self.start)


def dual_of(
    reading: Reading, *, kernel: Kernel | None = None, c: float | None = None, alpha: float = 0.0
) -> Dual:
    """The paper's dual. Unless told otherwise its kernel is exact, and c = 1/Z(q) of this kernel
    over all keys: c knows the query and the demonstration before the first step is made."""
    kernel = kernel or ExactKernel.of(reading)
    if c is None:
        c = 1 / float(kernel(reading.query[np.newaxis], reading.keys).sum())
    parts = [
        Function(kernel, reading.keys[which], reading.values[which])
        for which in (~reading.demonstration, reading.demonstration)
    ]
    return Dual(parts[0].times(c), Loss(parts[1], c, alpha=alpha))


# --- token by token -------------------------------------------------------------------------------


def fixed_c_outputs(reading: Reading, kernel: Kernel | None = None) -> Array:
    """Figure 8 as printed: what f says of the query before the first demonstration token and after
    each, c being that of the whole prompt from the beginning. Only the last is an attention."""
    kernel = kernel or ExactKernel.of(reading)
    values = kernel(reading.query[np.newaxis], reading.keys)[0]
    weighted = (values / values.sum())[:, np.newaxis] * reading.values
    start = weighted[~reading.demonstration].sum(axis=0)
    steps = np.cumsum(weighted[reading.demonstration], axis=0)
    return np.concatenate((start[np.newaxis], start + steps))


def c_free_outputs(reading: Reading) -> Array:
    """Form A: parts are carried, and each output is read from what has been carried so far."""
    carried = reading.instruction_part
    outputs = [carried.output]
    for token in np.flatnonzero(reading.demonstration):
        carried += reading.part(np.arange(len(reading.keys)) == token)
        outputs.append(carried.output)
    return np.stack(outputs)


def prefix_outputs(reading: Reading) -> Array:
    """Form B: h_j = h_{j-1} - gamma_j (h_{j-1} - v_j) with gamma_j = kappa_j / Z_j.

    A gradient step on (1/2) |h - v_j|^2 at rate gamma_j: here the decay of what was known is real.
    Each h_j is the attention over the prompt up to token j.
    """
    part = reading.instruction_part
    weights = np.exp(reading.logits - part.shift)
    mass, output = part.mass, part.output
    outputs = [output]
    for token in np.flatnonzero(reading.demonstration):
        mass += weights[token]
        rate = weights[token] / mass
        output = output - rate * (output - reading.values[token])
        outputs.append(output)
    return np.stack(outputs)
