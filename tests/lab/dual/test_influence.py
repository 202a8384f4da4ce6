from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lab.dual.experiments.influence import MASKING, OVER, measure  # noqa: E402
from lab.dual.families import lrgd_mini, norms_in_float64, reading_by  # noqa: E402
from lab.dual.influence import Examined, Score  # noqa: E402
from lab.dual.prompts import Prompts, Unit, UnitKind, ids_without  # noqa: E402
from lab.dual.registered import weights_of  # noqa: E402
from lab.statistics import spearman  # noqa: E402

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts()


@dataclass(frozen=True)
class Gated:
    """kappa of a unit's keys times a gate, in every layer and head, for all other queries."""

    unit: Unit
    gate: float

    def read(self, query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
        opened = torch.zeros_like(mask)
        opened[..., self.unit.begin : self.unit.end] = math.log(self.gate)
        opened[..., self.unit.begin : self.unit.end, :] = 0
        weights, z = weights_of(query, key, mask + opened, scale)
        return weights / z @ value


def test_the_gate_gradient_is_the_derivative_by_a_gate(prompts: Prompts) -> None:
    model, prompt = lrgd_mini(torch.float64), next(prompts.first(1))
    norms_in_float64(model)
    examined = Examined(model, prompt)
    scores = examined.scores((Score.GATE,))[Score.GATE]
    h = 1e-5
    for number in prompt.of_kind(UnitKind.ITEM, UnitKind.SENTENCE)[::5]:
        with torch.no_grad(), reading_by(model):
            up, down = (
                examined._logprobs([prompt.ids], Gated(prompt.units[number], 1 + change))
                for change in (h, -h)
            )
        slope = float((up - down)[0, examined.place]) / (2 * h)
        assert scores[number] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_leaving_a_unit_out_is_asking_without_its_line(prompts: Prompts) -> None:
    prompt = next(prompts.first(1))
    for unit in prompt.units:
        if unit.kind is UnitKind.SEGMENT:
            continue
        without = [*prompt.ids[: unit.begin], *prompt.ids[unit.end :]]
        assert ids_without(prompt.prompt, unit.lines, prompts.tokenizer) == without
        text = prompts.tokenizer.decode(prompt.ids[unit.begin : unit.end])
        assert text.strip().removeprefix("- ") == unit.text


def test_units_are_items_and_sentences_and_segments(prompts: Prompts) -> None:
    prompt = next(prompts.first(1))
    kinds = [unit.kind for unit in prompt.units]
    assert kinds.count(UnitKind.ITEM) == prompts.method.form.limits.history_items
    assert kinds.count(UnitKind.SENTENCE) == 4
    segments = {unit.text for unit in prompt.units if unit.kind is UnitKind.SEGMENT}
    assert segments == {"instruction", "regularization", "demonstration", "history"}
    assert 50 < sum(prompt.demonstration) < 200


def test_scores_rank_as_leaving_out_does(mini: Any, prompts: Prompts) -> None:
    found: dict[Score, list[float]] = {score: [] for score in Score}
    for prompt in prompts.first(4):
        examined = Examined(mini, prompt)
        fine = prompt.of_kind(UnitKind.ITEM, UnitKind.SENTENCE)
        truth = examined.left_out(prompts.tokenizer)[fine]
        for score, values in examined.scores().items():
            found[score].append(spearman(values[fine], truth))
    means = {score: np.mean(values) for score, values in found.items()}
    assert means[Score.HEAD_MOVED] > 0.8
    assert means[Score.HEAD_MOVED] > means[Score.HEAD]
    assert means[Score.ATTENTION_MASS] < 0.6


def test_the_score_is_chosen_on_other_prompts_than_it_is_reported_on() -> None:
    figures, detail = measure(4, 1, lambda *_: None)
    assert detail["reported_on"] == 2
    assert detail["chosen"] in set(Score)
    assert figures["spearman.heldout"] == figures[f"spearman.{detail['chosen']}"]
    assert {row["way"] for row in detail["table"]} == {*Score, MASKING}
    assert {f"spearman.heldout.{name}" for name in OVER} <= set(figures)
