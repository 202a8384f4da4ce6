"""How an experiment learns."""

from __future__ import annotations

from dataclasses import dataclass

from services.optimizer.plan import Plan


@dataclass(frozen=True)
class Learning:
    """`reveals_validation`: the generator sees what judges it, as an earlier method of the paper's
    authors did."""

    plan: Plan
    rounds: int
    reveals_validation: bool = False
