"""The service's leave-one-out, through the engine that ships, is the lab's truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lab.dual.influence import Examined  # noqa: E402
from lab.dual.prompts import Prompts, UnitKind  # noqa: E402
from lab.mini.conditions import Condition, questions  # noqa: E402
from lab.shop.taste import EVALUATION_USERS, Shop  # noqa: E402
from services.llm.onnx import OnnxConfig, OnnxModel  # noqa: E402
from services.llm.port import Terms  # noqa: E402
from services.observability.metrics import Metrics  # noqa: E402
from services.ranking import Ranker  # noqa: E402
from services.recommendations.leave_one_out import leave_one_out  # noqa: E402
from services.settings import SHIPPED_MODEL  # noqa: E402

pytestmark = pytest.mark.lab


async def test_the_service_says_what_the_lab_says(mini: Any) -> None:
    prompts = Prompts()
    (question,) = questions(Shop(), EVALUATION_USERS[:1], window=10)
    request, method = question.under(Condition.ORACLE_DEMO, prompts.method)
    # More history than is shown: no older item may take a place.
    assert len(request.history) > 10
    terms = Terms.within(170)
    async with OnnxModel(OnnxConfig(SHIPPED_MODEL), Metrics()) as model:
        ranker = Ranker(model)
        ranking = await ranker.rank(request, method, terms)
        first = ranking.item_ids[ranking.order[0]]
        found = await leave_one_out(ranker, ranking, request, first, terms)
    examined = Examined(mini, prompts.prompt(request))
    assert examined.place == ranking.order[0]
    fine = examined.prompt.of_kind(UnitKind.ITEM, UnitKind.SENTENCE)
    truth = examined.left_out(prompts.tokenizer)
    expected = {examined.prompt.units[n].text: truth[n] for n in fine}
    assert {one.text: one.effect for one in found.effects} == pytest.approx(expected, abs=2e-3)
    assert replace(found, effects=()).not_asked == 0
