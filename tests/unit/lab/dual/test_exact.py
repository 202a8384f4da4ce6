from __future__ import annotations

import numpy as np
import pytest

from lab.dual.exact import (
    ExactKernel,
    Function,
    Loss,
    c_free_outputs,
    dual_of,
    fixed_c_outputs,
    prefix_outputs,
)
from lab.dual.features import FeatureKernel, Positive, normal_frequencies
from lab.dual.head import Array, Reading
from lab.dual.problems import Sizes, draw_reading, without_demonstration
from lab.dual.steps import passes


def at_query(function: Function, reading: Reading) -> Array:
    found: Array = function.at(reading.query[np.newaxis])[0]
    return found


def test_one_step_of_the_dual_is_the_output_of_attention(reading: Reading) -> None:
    found = at_query(dual_of(reading).trained, reading)
    assert np.sum((found - reading.attended) ** 2) < 1e-26


def test_it_is_so_for_hundreds_of_heads(width: int) -> None:
    rng = np.random.default_rng(7)
    for scale in (0.5, 1.0, 4.0):
        for _ in range(50):
            one = draw_reading(rng, Sizes(10, width, logit_scale=scale))
            error = at_query(dual_of(one).trained, one) - one.attended
            assert np.sum(error**2) < 1e-24


def test_the_gradient_is_the_derivative_of_the_loss(reading: Reading) -> None:
    """In the RKHS: along a direction g the loss changes by <grad L, g>."""
    rng = np.random.default_rng(0)
    dual = dual_of(reading)
    loss = Loss(dual.loss.demonstration, dual.loss.c, beta=0.7, alpha=0.3)
    direction = Function(
        dual.start.kernel, reading.keys[:3], rng.standard_normal((3, reading.values.shape[1]))
    )
    h = 1e-4
    change = (
        loss.value(dual.start + direction.times(h)) - loss.value(dual.start + direction.times(-h))
    ) / (2 * h)
    gradient = loss.gradient(dual.start)
    product = float((gradient.at(direction.keys) * direction.coefficients).sum())
    assert change == pytest.approx(product, rel=1e-6, abs=1e-9)


def test_the_loss_has_no_minimum(reading: Reading) -> None:
    """After m passes the error is |m - 1| times the demonstration part."""
    dual = dual_of(reading)
    whole = reading.instruction_part + reading.demonstration_part
    demonstrated = np.linalg.norm(reading.demonstration_part.within(whole))
    values = []
    for count in range(5):
        trained = passes(dual, count)
        values.append(dual.loss.value(trained))
        error = np.linalg.norm(at_query(trained, reading) - reading.attended)
        assert error == pytest.approx(abs(count - 1) * demonstrated, rel=1e-9, abs=1e-12)
    falls = np.diff(values)
    assert (falls < 0).all()
    assert falls == pytest.approx(np.full(4, falls[0]), rel=1e-6)


def test_forms_a_and_b_give_attention_over_each_prefix(reading: Reading) -> None:
    a, b = c_free_outputs(reading), prefix_outputs(reading)
    assert a == pytest.approx(b, rel=1e-11, abs=1e-12)
    assert a[0] == pytest.approx(without_demonstration(reading).attended, rel=1e-12)
    assert np.sum((a[-1] - reading.attended) ** 2) < 1e-26
    assert np.sum((b[-1] - reading.attended) ** 2) < 1e-26


def test_the_papers_fixed_c_is_attention_only_at_the_end(reading: Reading) -> None:
    fixed, prefixes = fixed_c_outputs(reading), c_free_outputs(reading)
    assert np.sum((fixed[-1] - reading.attended) ** 2) < 1e-26
    apart = np.linalg.norm(fixed[:-1] - prefixes[:-1], axis=1)
    assert apart[0] > 0.01 * np.linalg.norm(prefixes[0])


def test_with_a_finite_map_the_function_is_the_papers_matrix(reading: Reading) -> None:
    """f(q) = W phi(q), and the norm of the RKHS is the Frobenius norm of W."""
    features = Positive(normal_frequencies(np.random.default_rng(0), 50, reading.keys.shape[1]))
    trained = dual_of(reading, kernel=FeatureKernel(features)).trained
    matrix = trained.coefficients.T @ features(trained.keys)
    query = reading.query[np.newaxis]
    assert matrix @ features(query)[0] == pytest.approx(at_query(trained, reading), rel=1e-9)
    assert trained.squared_norm() == pytest.approx((matrix**2).sum(), rel=1e-9)


def test_a_shift_of_the_kernel_changes_nothing(reading: Reading) -> None:
    shift = ExactKernel.of(reading).shift
    shifted = dual_of(reading, kernel=ExactKernel(shift - 5)).trained
    assert at_query(shifted, reading) == pytest.approx(reading.attended, rel=1e-12)
