"""Under which conditions two Effect_D values may be compared."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache

from services.llm.port import EngineFingerprint
from services.prompts import template_version
from services.ranking.ranking import Method


@dataclass(frozen=True)
class EvaluationFingerprint:
    """The engine's, and all of the method that can change a rank."""

    engine: str
    template: str
    regularization: str | None
    mode: str
    lead: str
    permutations: int
    calibrated: bool
    listed: int
    limits: str
    step_size: float = 1.0

    @classmethod
    @lru_cache(64)  # every list is about one, and there are few
    def of(cls, engine: EngineFingerprint, method: Method) -> EvaluationFingerprint:
        form = method.form
        limits = json.dumps(asdict(form.limits), sort_keys=True)
        return cls(
            engine=engine.digest,
            template=template_version(form.template),
            regularization=None if form.regularization is None else form.regularization.version,
            mode=form.mode,
            lead=form.lead,
            permutations=method.permutations,
            calibrated=method.calibrated,
            listed=method.listed,
            limits=limits,
            step_size=method.step_size,
        )

    @cached_property
    def digest(self) -> str:
        parts = asdict(self)
        if self.step_size == 1:  # as it always was, before there was a choice
            del parts["step_size"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
