from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.dual.exact import ExactKernel, dual_of
from lab.dual.features import (
    FeatureKernel,
    FeatureMap,
    Positive,
    PrintedTrigonometric,
    Trigonometric,
    normal_frequencies,
    orthogonal_frequencies,
    positive_variance,
    trigonometric_variance,
)
from lab.dual.head import Array
from lab.dual.problems import Sizes, draw_reading

Build = Callable[[Array], FeatureMap]

D = 64
DRAWS = 4000


def pair(width: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(width)
    one, other = rng.standard_normal((2, 1, width))
    return 0.6 * one / np.linalg.norm(one), 0.6 * other / np.linalg.norm(other)


def estimates(build: Build, width: int, frequencies: int) -> Array:
    rng = np.random.default_rng(1)
    one, other = pair(width)
    return np.array(
        [
            FeatureKernel(build(normal_frequencies(rng, frequencies, width)))(one, other).item()
            for _ in range(DRAWS)
        ]
    )


@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize(("build", "frequencies"), [(Trigonometric, D // 2), (Positive, D)])
def test_both_maps_are_unbiased_with_the_variance_that_theory_gives(
    build: Build, frequencies: int, width: int
) -> None:
    one, other = pair(width)
    relative = estimates(build, width, frequencies) / ExactKernel()(one, other).item()
    towards = one + other if build is Positive else one - other
    reach = (towards**2).sum(axis=1) / np.sqrt(width)
    variance = positive_variance if build is Positive else trigonometric_variance
    expected = variance(reach, D).item()
    assert relative.mean() == pytest.approx(1, abs=4 * np.sqrt(expected / DRAWS))
    assert relative.var() == pytest.approx(expected, rel=0.2)


def test_the_printed_prefactor_gives_half_the_kernel() -> None:
    one, other = pair(1)  # where the missing scale does not show
    relative = estimates(PrintedTrigonometric, 1, D // 2) / ExactKernel()(one, other).item()
    assert relative.mean() == pytest.approx(0.5, abs=0.01)


def test_the_printed_map_is_of_another_kernel_where_d_is_more_than_one() -> None:
    one, other = pair(16)
    found = 2 * estimates(PrintedTrigonometric, 16, D // 2)
    assert found.mean() == pytest.approx(np.exp((one @ other.T).item()), rel=0.05)
    assert abs(found.mean() / ExactKernel()(one, other).item() - 1) > 0.05


def test_half_the_kernel_cancels_when_c_is_of_the_same_map_and_only_then() -> None:
    rng = np.random.default_rng(0)
    reading = draw_reading(rng, Sizes(width=1))
    frequencies = normal_frequencies(rng, 20_000, 1)
    printed, right = (
        FeatureKernel(one(frequencies)) for one in (PrintedTrigonometric, Trigonometric)
    )
    query = reading.query[np.newaxis]
    z = float(ExactKernel()(query, reading.keys).sum())
    own = [dual_of(reading, kernel=kernel).trained.at(query)[0] for kernel in (printed, right)]
    exact = [
        dual_of(reading, kernel=kernel, c=1 / z).trained.at(query)[0] for kernel in (printed, right)
    ]
    assert own[0] == pytest.approx(own[1], rel=1e-9)
    assert exact[0] == pytest.approx(reading.attended / 2, rel=0.1)
    assert exact[1] == pytest.approx(reading.attended, rel=0.1)


def test_trigonometric_z_may_not_be_positive_and_the_other_always_is() -> None:
    rng = np.random.default_rng(0)
    builds: tuple[Build, ...] = (Trigonometric, Positive)
    wrong = np.zeros(2)
    for _ in range(300):
        reading = draw_reading(rng, Sizes(width=64))
        for number, build in enumerate(builds):
            kernel = FeatureKernel(build(normal_frequencies(rng, 50, 64)))
            wrong[number] += kernel(reading.query[np.newaxis], reading.keys).sum() <= 0
    assert wrong[0] > 30
    assert wrong[1] == 0


@pytest.mark.parametrize("width", [1, 3])
def test_orthogonal_frequencies_need_the_signs_of_qr(width: int) -> None:
    one, other = pair(width)
    exact = ExactKernel()(one, other).item()

    def mean(*, fix_signs: bool) -> tuple[float, float]:
        rng = np.random.default_rng(2)
        found = [
            FeatureKernel(
                Positive(orthogonal_frequencies(rng, 2 * width, width, fix_signs=fix_signs))
            )(one, other).item()
            for _ in range(DRAWS)
        ]
        return float(np.mean(found)) / exact, float(np.std(found)) / exact / np.sqrt(DRAWS)

    right, error = mean(fix_signs=True)
    assert right == pytest.approx(1, abs=4 * error)
    wrong, error = mean(fix_signs=False)
    assert abs(wrong - 1) > 8 * error


def test_orthogonal_frequencies_are_orthogonal_and_as_long_as_normal_ones() -> None:
    rng = np.random.default_rng(0)
    frequencies = orthogonal_frequencies(rng, 8 * 500, 8)
    products = frequencies[:8] @ frequencies[:8].T
    assert products - np.diag(np.diag(products)) == pytest.approx(np.zeros((8, 8)), abs=1e-12)
    assert (frequencies**2).sum(axis=1).mean() == pytest.approx(8, rel=0.05)
