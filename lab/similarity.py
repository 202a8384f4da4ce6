"""How alike are two texts that have nothing but the user in common? From that, tau.

A path has collapsed when its texts stop changing. Texts sampled afresh from one and the same prompt
are as alike as chance lets them be: tau lies above most of these, and below what repeats itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lab.mini.conditions import Question, questions
from lab.shop.taste import EVALUATION_USERS, Shop
from services.demonstrations.generator import Generator, Task, Writing
from services.demonstrations.likeness import Likeness, SimilarityBy
from services.llm.port import LanguageModel, Terms
from services.optimizer.plan import Plan
from services.prompts.titles import fold

SECONDS = 300.0
WINDOW = 10  # of history, as prompts have it
VIEW = Plan().view(0)
# So many of the pairs from one prompt are less alike than tau.
QUANTILE = 0.9

Figures = dict[str, float]


@dataclass(frozen=True)
class Calibration:
    users: int = 30
    samples: int = 6
    by: SimilarityBy = SimilarityBy.NGRAMS
    temperature: float = Plan().temperature


async def calibrate(
    model: LanguageModel,
    likeness: Likeness,
    calibration: Calibration,
    tell: Callable[[int, int], None],
) -> tuple[Figures, dict[str, Any]]:
    shop = Shop()
    titles = {fold(item.title) for item in shop.catalog.items}
    generator = Generator(model, is_item=titles.__contains__)
    count = await model.counter(Terms.within(SECONDS))
    by_user: list[list[str]] = []
    asked: Sequence[Question] = questions(shop, _numbers(calibration), WINDOW)
    for number, question in enumerate(asked, start=1):
        prompt = question.generator_prompt(shop, count, window=VIEW.window)
        written = await generator.write(
            [Task(prompt, 1_000 * question.user + n) for n in range(calibration.samples)],
            Terms.within(SECONDS),
            Writing(temperature=calibration.temperature, attempts=1),
        )
        by_user.append(
            [one.demonstration.as_text() for one in written if one.demonstration is not None]
        )
        tell(number, len(asked))
    of_one = [pair for texts in by_user for pair in combinations(texts, 2)]
    firsts = [texts[0] for texts in by_user if texts]
    same = await likeness.of(calibration.by, of_one)
    strangers = await likeness.of(calibration.by, list(combinations(firsts, 2)))
    figures = {
        "tau": float(np.quantile(same, QUANTILE)),
        "same_prompt.mean": float(np.mean(same)),
        "same_prompt.p50": float(np.quantile(same, 0.5)),
        "same_prompt.p95": float(np.quantile(same, 0.95)),
        "other_users.mean": float(np.mean(strangers)),
        "other_users.p95": float(np.quantile(strangers, 0.95)),
        "pairs": float(len(same)),
    }
    return figures, {
        "users": len(firsts),
        "samples": calibration.samples,
        "by": calibration.by.value,
    }


def _numbers(calibration: Calibration) -> Sequence[int]:
    """Apart from those whom `lrgd lab loop` learns on."""
    return EVALUATION_USERS[100_000 : 100_000 + calibration.users]
