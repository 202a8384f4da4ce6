from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lab.mini.corpus import Corpus
from lab.mini.moments import Moment, taught_moments
from lab.mini.tokenizer import MiniTokenizer
from lab.mini.vocabulary import vocabulary_texts
from lab.shop.taste import Shop


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="session")
def tokenizer(shop: Shop) -> MiniTokenizer:
    return MiniTokenizer.trained_on(vocabulary_texts(shop))


@pytest.fixture(scope="session")
def corpus(shop: Shop, tokenizer: MiniTokenizer) -> Corpus:
    return Corpus(shop, tokenizer)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def moments(shop: Shop, rng: np.random.Generator) -> Iterator[Moment]:
    return taught_moments(shop, rng)
