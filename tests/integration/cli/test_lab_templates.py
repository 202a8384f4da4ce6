"""`lrgd lab templates`: all templates, the same users, one run."""

from __future__ import annotations

import json

from services.prompts import TemplateName
from tests.integration.cli.conftest import Lrgd

FEW = ("lab", "templates", "--users", "4", "--timed", "3")


def test_every_template_is_measured_on_the_same_users() -> None:
    done = Lrgd()(*FEW, "--json")
    assert done.code == 0, done.said
    told = json.loads(done.out)
    for name in TemplateName:
        for figure in ("oracle_demo.ndcg@10", "cold.p50_ms", "cached.p50_ms", "prompt_tokens"):
            assert told["figures"][f"{name}.{figure}"] >= 0
        # Without a demonstration they are the same prompt.
        assert (
            told["figures"][f"{name}.zero_shot.ndcg@10"]
            == told["figures"]["prefix_cached.zero_shot.ndcg@10"]
        )
    assert 0 < told["figures"]["paper.p.oracle_demo"] <= 1
    assert "prefix_cached.p.oracle_demo" not in told["figures"]
    assert told["figures"]["prefix_cached.cached_tokens"] > 0
    assert told["detail"]["timed"] == 3


def test_the_table_of_the_document_is_printed() -> None:
    done = Lrgd()(*FEW, "--markdown")
    assert done.code == 0, done.said
    lines = done.out.splitlines()
    assert len(lines) == 2 + len(TemplateName)
    assert {line.count("|") for line in lines} == {9}
    assert [line.split("`")[1] for line in lines[2:]] == [name.value for name in TemplateName]
