"""What a user is served by an arm, put to the test: the newest positive among four draws of
candidates, which nobody who learned has seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.evaluation.methods import with_older_history
from lab.lines import read_lines
from lab.loop.population import POSITIVES, Test
from services.catalog.repository import CatalogRepository
from services.llm.port import LanguageModel, Priority, Terms
from services.optimizer.learning_repository import LearningRepository
from services.optimizer.material import (
    POOL,
    Candidates,
    Positive,
    Question,
    drawn,
    questions_of,
)
from services.optimizer.plan import Plan
from services.prompts import Demonstrated
from services.ranking import Method, Ranker
from services.ranking.effect import log_score
from services.storage.database import Database

SECONDS = 300.0
DRAWS = 4  # of the test's candidates
HISTORY_READ = 400
_AFTER_ALL = 2**62  # a seq that no event has


@dataclass
class Tested:
    """By draw: the rank of the truth and its log-score. `texts` are those of every variant that was
    judged to the end: what was found on the held-out events, and on the test."""

    user: str
    arm: str
    ranks: list[int]
    log_scores: list[float]
    served: bool = False
    variants: list[tuple[float, float]] = field(default_factory=list)


async def questions_about(
    database: Database, candidates: Candidates, tests: Sequence[Test], plan: Plan
) -> dict[str, tuple[Question, ...]]:
    """By user. Candidates and history are as of the test's moment, found as a round finds them for
    a held-out event."""
    asked = {}
    for test in tests:
        async with database.reading() as session:
            rows = await LearningRepository(session).positives(
                test.user_id, POSITIVES, HISTORY_READ
            )
        truth = Positive("test", test.item_id, test.occurred_at, _AFTER_ALL)
        pool = await candidates.pool(test.user_id, truth, POOL * (plan.candidates - 1), ())
        sets = {
            (truth.event_id, draw): drawn(pool, truth, test.user_id, draw, plan)
            for draw in range(plan.draws)
        }
        positives = [Positive(*row) for row in rows]
        shown = {item for item_ids, _ in sets.values() for item in item_ids}
        async with database.reading() as session:
            items = await CatalogRepository(session).items_by_id(
                sorted({*(one.item_id for one in positives), *shown})
            )
        asked[test.user_id] = questions_of(positives, [truth], sets, items, plan)
    return asked


class Tester:
    def __init__(self, model: LanguageModel, plan: Plan) -> None:
        self._ranker = Ranker(model)
        self._method = plan.method

    async def zero_shot(self, arm: str, user: str, questions: Sequence[Question]) -> Tested:
        return await self.test(arm, user, questions, None)

    async def zero_shot_long(self, arm: str, user: str, questions: Sequence[Question]) -> Tested:
        """The tokens that a demonstration may take, spent on older history."""
        return await self._tested(arm, user, questions, None, with_older_history(self._method))

    async def zero_shot_longer(self, arm: str, user: str, questions: Sequence[Question]) -> Tested:
        """Those of two: of X_D_curr and X_D_per."""
        longer = with_older_history(self._method, demonstrations=2)
        return await self._tested(arm, user, questions, None, longer)

    async def test(
        self, arm: str, user: str, questions: Sequence[Question], shown: Demonstrated | None
    ) -> Tested:
        return await self._tested(arm, user, questions, shown, self._method)

    async def _tested(
        self,
        arm: str,
        user: str,
        questions: Sequence[Question],
        shown: Demonstrated | None,
        method: Method,
    ) -> Tested:
        ranked = await self._ranker.rank_all(
            [question.under(shown) for question in questions],
            method,
            Terms.within(SECONDS, Priority.ROUND),
        )
        pairs = list(zip(questions, ranked.rankings, strict=True))
        return Tested(
            user,
            arm,
            [ranking.rank_of(question.truth) for question, ranking in pairs],
            [
                round(log_score(ranking.scores, ranking.item_ids.index(question.truth)), 6)
                for question, ranking in pairs
            ],
            served=shown is not None,
        )


def read_tested(files: Iterable[Path]) -> dict[tuple[str, str], Tested]:
    """By arm and user. A torn last line is left out."""
    found = {}
    for file in files:
        for row in read_lines(file):
            one = Tested(**row)
            found[one.arm, one.user] = one
    return found
