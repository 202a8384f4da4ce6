"""Do paths get stuck, and does perturbation free them? On landscapes whose optima are known.

Every demonstration of a small space is judged by the model on the user's held-out events, once.
Then 1 to 4 paths walk over what was found (`walks`), many times with other seeds, and nothing is
asked any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import Watch
from lab.shop.taste import Shop
from lab.tables.studies.collapse.landscape import Landscape
from lab.tables.studies.collapse.spaces import Judge, Space, spaces
from lab.tables.studies.collapse.trials import Trial, trials
from lab.tables.studies.same_engine import LOAD_SECONDS, plain
from services.llm.port import Terms
from services.optimizer.plan import Plan
from services.optimizer.rules import Collapse
from services.ranking import EvaluationFingerprint, Method, Ranker

# More than rounds allow: the form of these texts is fixed, and none may be left out of a prompt.
DEMONSTRATION_TOKENS = 320
# The product's own, and one that waits until a path may have tried most of its neighbors.
WINDOWS = (Plan().window, 5)
# Each is asked about on every held-out event and draw.
MOST_PLACES = 1_100


@dataclass(frozen=True)
class CollapseStudy:
    """`windows` are s: over how many rounds a collapse shows."""

    out: Path
    users: int = 12
    elements: int = 5
    choices: int = 3
    rounds: int = 20
    walks: int = 30
    windows: tuple[int, ...] = WINDOWS
    engine: EngineChoice = field(default_factory=EngineChoice)

    @property
    def folder(self) -> Path:
        return self.out / f"collapse-{plain(self.engine)}-{self.elements}x{self.choices}"

    @property
    def plan(self) -> Plan:
        return Plan()

    @property
    def method(self) -> Method:
        method = self.plan.method
        limits = replace(method.form.limits, demonstration_tokens=DEMONSTRATION_TOKENS)
        return replace(method, form=replace(method.form, limits=limits))

    @property
    def collapses(self) -> list[Collapse]:
        return [Plan(window=window).collapse for window in self.windows]

    def file(self, space: Space) -> Path:
        return self.folder / f"{space.user}.jsonl"


def landscapes(study: CollapseStudy, watch: Watch) -> list[Landscape]:
    """Judged where they are not yet."""
    study.folder.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_landscapes(study, watch))


async def _landscapes(study: CollapseStudy, watch: Watch) -> list[Landscape]:
    found = []
    asked = list(spaces(Shop(), study.users, study.elements, study.choices, study.plan))
    async with contextlib.aclosing(make_model(study.engine)) as model:
        engine = await model.describe(Terms.within(LOAD_SECONDS))
        fingerprint = EvaluationFingerprint.of(engine.fingerprint, study.method)
        judge = Judge(Ranker(model), study.method, fingerprint)
        left = sum(judge.left(space, study.file(space)) for space in asked)
        if left:
            tokens, seconds = await judge.cost(asked[0])
            watch.say(
                f"{left:,} demonstrations to judge: about {left * tokens:,} tokens, "
                f"{max(1, round(left * seconds / 60)):,} minutes"
            )
        for number, space in enumerate(asked, start=1):
            await judge.judge(space, study.file(space))
            found.append(judge.landscape(space, study.file(space), study.plan.z))
            watch.tell("landscapes", number, study.users)
    return found


def all_trials(
    study: CollapseStudy, lands: Sequence[Landscape], watch: Watch
) -> list[dict[str, Trial]]:
    """By user. Nothing is asked for them."""
    found = []
    for number, land in enumerate(lands, start=1):
        found.append(trials(land, study.rounds, study.walks, study.collapses))
        watch.tell("walks", number, len(lands))
    return found
