from __future__ import annotations

import numpy as np
import pytest

from lab.dual.head import Reading
from lab.dual.problems import Sizes, draw_reading

WIDTHS = (1, 8, 64)


@pytest.fixture(params=WIDTHS, ids="d={}".format)
def width(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def reading(width: int) -> Reading:
    return draw_reading(np.random.default_rng(width), Sizes(width=width, logit_scale=2.0))
