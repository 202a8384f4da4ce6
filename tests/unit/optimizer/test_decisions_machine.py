"""Round after round of a user, with whatever judgments: what is served was accepted, and is not
believed to be behind zero-shot."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.demonstrations.models import StoredDemonstration, StoredVariant
from services.optimizer.decision import Found, decide
from services.optimizer.learning_repository import KnownVariant
from services.optimizer.plan import Plan
from services.optimizer.rules import Expected, Judged, PathState, Quality, accepts
from services.optimizer.under_way import ZERO_SHOT_PATH

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(
    paths=2,
    held_out=1,
    draws=3,
    prior_events=2,
    expected=Expected(single=Quality(0.0, 0.2), pair=Quality(0.05, 0.4)),
)
PATHS = range(PLAN.paths)

draw = st.tuples(st.integers(1, 6), st.sampled_from([-4.0, -3.0, -2.5, -1.0]))
all_draws = st.lists(draw, min_size=PLAN.draws, max_size=PLAN.draws)
# Dropped after the first draw of candidates, or judged on all of them.
some_draws = st.lists(draw, min_size=1, max_size=1) | all_draws
written = st.dictionaries(st.sampled_from(PATHS), some_draws)


class RoundsMachine(RuleBasedStateMachine):
    """`rejudged`: newer events, or another fingerprint; else judgments stay what they were."""

    def __init__(self) -> None:
        super().__init__()
        self.zero_shot = KnownVariant(
            StoredVariant(variant_id="bare", path=ZERO_SHOT_PATH, round_number=0, tokens=0),
            None, None,
        )  # fmt: skip
        self.known: dict[str, KnownVariant] = {}
        self.judged: dict[str, list[Judged]] = {}
        self.paths: dict[int, PathState] = {}
        self.active: str | None = None
        self.rounds = 0

    @rule(bare=all_draws, texts=written)
    def first_or_next_round(
        self, bare: list[tuple[int, float]], texts: dict[int, list[tuple[int, float]]]
    ) -> None:
        self.judged.setdefault("bare", _judged(bare))
        self._decide(texts)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), texts=written)
    def round_after_newer_events(
        self, data: st.DataObject, texts: dict[int, list[tuple[int, float]]]
    ) -> None:
        judged = {"bare": _judged(data.draw(all_draws))}
        for name, one in self.known.items():
            if one.row.incumbent:
                judged[name] = _judged(data.draw(all_draws))
        self.judged = judged
        self._decide(texts)

    @precondition(lambda self: self.active is not None)
    @rule()
    def roll_back(self) -> None:
        """As `Rollbacks` does: it is no path's best any more."""
        assert self.active is not None
        row = self.known[self.active].row
        row.incumbent = row.effective = False
        self.active = None

    def _decide(self, texts: dict[int, list[tuple[int, float]]]) -> None:
        self.rounds += 1
        new = {path: self._written(path) for path in texts}
        for path, judged in texts.items():
            self.judged[new[path].variant_id] = _judged(judged)
        found = Found(
            self.zero_shot,
            {one.row.path: one for one in self.known.values() if one.row.incumbent},
            new,
            [one for one in self.known.values() if one.row.effective],
            self.judged,
            "newest",
            self.paths,
            {},
            PLAN.expected or Expected(),
            PLAN.prior_events,
        )
        self.known |= {one.variant_id: one for one in new.values()}
        decision = decide(PLAN, found, {}, {})
        for judgment in decision.judgments:
            row = self.known[judgment.variant_id].row
            row.accepted, row.incumbent = judgment.accepted, judgment.incumbent
            row.effective = judgment.effective
            row.effect_d, row.log_score = judgment.quality.effect_d, judgment.quality.log_score
        self.paths, self.active = dict(decision.paths), decision.active_id
        assert self.active is None or accepts(found.gained(self.known[self.active]), z=0)

    def _written(self, path: int) -> KnownVariant:
        name = f"{path}.{self.rounds}"
        text = StoredDemonstration(demonstration_id=f"d-{name}", text=name, made_at=NOW)
        row = StoredVariant(
            variant_id=name, path=path, round_number=self.rounds, current_id=f"d-{name}",
            incumbent=False, effective=False, tokens=10,
        )  # fmt: skip
        return KnownVariant(row, text, text if self.rounds % 2 else None)  # pairs, in turn

    @invariant()
    def what_is_served_was_accepted(self) -> None:
        assert self.active is None or self.known[self.active].row.accepted

    @invariant()
    def a_path_has_one_best_and_it_was_accepted(self) -> None:
        best = [one.row for one in self.known.values() if one.row.incumbent]
        assert all(row.accepted for row in best)
        assert len({row.path for row in best}) == len(best)


def _judged(draws: list[tuple[int, float]]) -> list[Judged]:
    return [Judged("newest", place, rank, score) for place, (rank, score) in enumerate(draws)]


TestRounds = RoundsMachine.TestCase
TestRounds.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
