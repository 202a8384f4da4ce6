"""What the paper does to the step: perturbation (Eq. 16), regularization (Eq. 17-18), and the next
token (sequential generation). Each as printed, and as it must be to equal attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lab.dual.exact import Dual, Function
from lab.dual.head import Array

# --- perturbation, Eq. 16 -------------------------------------------------------------------------


def perturbed_as_printed(dual: Dual, perturbation: Function) -> Function:
    """Eq. 16 read literally: to the step over X_D_curr comes one over X_D_per, c as it was."""
    return dual.trained + perturbation.times(dual.loss.c)


def perturbed(dual: Dual, perturbation: Function, query: Array) -> Function:
    """c is that of the longer prompt: what was known shrinks by c'/c to make room."""
    added = perturbation.kernel(query[np.newaxis], perturbation.keys).sum()
    c = 1 / (1 / dual.loss.c + float(added))
    return dual.trained.times(c / dual.loss.c) + perturbation.times(c)


# --- regularization, Eq. 17-18 --------------------------------------------------------------------


def regularized_attention(dual: Dual, alpha: float) -> Function:
    """Eq. 18: attention with (1 - alpha) V_T instead of V_T."""
    return dual.start.times(1 - alpha) + dual.loss.demonstration.times(dual.loss.c)


def regularized_step(dual: Dual, alpha: float) -> Function:
    """Eq. 17: one step over the whole demonstration with (alpha/2 beta) |W|^2 in the loss. This
    equals Eq. 18."""
    return replace(dual.loss, alpha=alpha).step(dual.start)


def regularized_token_by_token(dual: Dual, alphas: Sequence[float]) -> Function:
    """One step for each token of the demonstration, each with a decay of its own. The paper's SGD
    with the same alpha everywhere is not Eq. 18: (1 - alpha)^n is left of the instruction, and
    early tokens decay as well. With alpha at the first token alone it is."""
    function, whole = dual.start, dual.loss.demonstration
    for token, alpha in enumerate(alphas):
        one = replace(
            whole,
            keys=whole.keys[token : token + 1],
            coefficients=whole.coefficients[token : token + 1],
        )
        function = replace(dual.loss, demonstration=one, alpha=alpha).step(function)
    return function


def passes(dual: Dual, count: int, alpha: float = 0.0) -> Function:
    """So many steps over the whole demonstration. Attention is one; the loss has no minimum, and
    m steps without decay are |m - 1| times the demonstration part away from it."""
    function = dual.start
    for _ in range(count):
        function = replace(dual.loss, alpha=alpha).step(function)
    return function


def squared_loss_step(dual: Dual) -> Function:
    """A step at rate c on (1/2) |W phi(K) - V|^2, the loss that a summary beside the paper gives.

    Its gradient also has W phi(k_i) phi(k_i)^T, which attention has not: what is known of a key is
    taken back before its value is stored (the delta rule). Equal only where W0 = 0.
    """
    demonstration = dual.loss.demonstration
    left = demonstration.coefficients - dual.start.at(demonstration.keys)
    return dual.start + replace(demonstration, coefficients=left).times(dual.loss.c)


# --- sequential generation ------------------------------------------------------------------------


def next_start_as_printed(dual: Dual, key: Array, value: Array) -> Dual:
    """W0' = W0 + c v phi(k)^T: the token just said joins the instruction, c as it was."""
    return replace(dual, start=dual.start + _token(dual, key, value).times(dual.loss.c))


def next_start(dual: Dual, key: Array, value: Array, c: float) -> Dual:
    """W0' = (c'/c) W0 + c' v phi(k)^T, grad' = (c'/c) grad: c' = 1/Z'(q') has another query and one
    key more."""
    start = dual.start.times(c / dual.loss.c) + _token(dual, key, value).times(c)
    return replace(dual, start=start, loss=replace(dual.loss, c=c))


def _token(dual: Dual, key: Array, value: Array) -> Function:
    return Function(dual.start.kernel, key[np.newaxis], value[np.newaxis])
