"""The books of a round and its run: what calls of the model may cost at most is reserved before
them, and replaced by what they did cost. Within the transactions of others, who hold the locks."""

from __future__ import annotations

from collections.abc import Collection

from services.errors import LrgdError
from services.llm.port import Usage
from services.optimizer.models import Round, Run, RunState
from services.optimizer.rules import Budget, Cost


class RunCancelled(LrgdError):
    """No more calls are wanted."""


class OutOfBudget(LrgdError):
    """What is left of the run's budget will never do for these calls."""


class BudgetInUse(LrgdError):
    """Calls in flight may use up what these calls need, or give it back: park the round."""


def reserve(run: Run, round_: Round, cost: Cost) -> None:
    """Raises RunCancelled, OutOfBudget, BudgetInUse."""
    _expect_budget(run, round_, cost)
    run.reserved_calls += cost.calls
    run.reserved_tokens += cost.tokens
    round_.reserved_calls += cost.calls
    round_.reserved_tokens += cost.tokens


def settle(run: Run, round_: Round, usage: Usage, calls: int) -> None:
    """What calls have cost, in place of what was reserved for them."""
    round_.calls += calls
    round_.prompt_tokens += usage.prompt
    round_.cached_tokens += usage.cached or 0
    round_.completion_tokens += usage.completion
    run.spent_calls += calls
    run.spent_tokens += usage.prompt + usage.completion
    release(run, round_)


def lose_calls(round_: Round, runs: Collection[Run]) -> None:
    """What is still reserved when a round is broken off or ends was asked of the model by somebody
    who never told what came of it: it counts as spent, at its highest."""
    (run,) = (run for run in runs if run.run_id == round_.run_id)
    run.spent_calls += round_.reserved_calls
    run.spent_tokens += round_.reserved_tokens
    round_.lost_calls += round_.reserved_calls
    round_.lost_tokens += round_.reserved_tokens
    release(run, round_)


def release(run: Run, round_: Round) -> None:
    run.reserved_calls -= round_.reserved_calls
    run.reserved_tokens -= round_.reserved_tokens
    round_.reserved_calls = round_.reserved_tokens = 0


def _expect_budget(run: Run, round_: Round, cost: Cost) -> None:
    if run.state == RunState.CANCELLED:
        raise RunCancelled(run.run_id)
    if run.state == RunState.OUT_OF_BUDGET:
        raise OutOfBudget(run.run_id)
    budget = Budget(run.budget_calls, run.budget_tokens)
    spent = Cost(run.spent_calls, run.spent_tokens)
    if budget.allows(spent, Cost(run.reserved_calls, run.reserved_tokens), cost):
        return
    mine = Cost(round_.reserved_calls, round_.reserved_tokens)
    raise BudgetInUse(run.run_id) if budget.allows(spent, mine, cost) else OutOfBudget(run.run_id)
