"""What a run leaves in the metrics: what it achieved, by path and round, and what it cost."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.conftest import ClientFactory
from tests.integration.api.test_runs import SMALL, services_of, started, stock, worked

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
USERS = ["user-0001", "user-0002"]


async def told(client: httpx2.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(lrgd_\S+) (\S+)$", text, re.M)}


async def test_a_run_is_told_by_path_and_round_with_what_it_cost(
    client: httpx2.AsyncClient,
) -> None:
    services = services_of(client)
    await stock(services, users=2)
    await started(client, users=USERS, rounds=2, settings=SMALL, budget={"tokens": 10_000_000})
    await services.automatic.measure()
    assert (await told(client))["lrgd_run_budget_used_ratio"] == 0
    await worked(client)
    metrics = await told(client)

    # Best beside zero-shot, on the same events, by round.
    for round_ in ("1", "2"):
        best, bare = (
            metrics[f'lrgd_served_effect_d_sum{{round="{round_}",served="{served}"}}']
            for served in ("best", "zero_shot")
        )
        assert 0 < bare <= best
    written = {
        name: value
        for name, value in metrics.items()
        if name.startswith("lrgd_round_effect_d_count")
    }
    assert sum(written.values()) == sum(
        value
        for name, value in metrics.items()
        if name.startswith("lrgd_round_texts_total") and "not_written" not in name
    )
    assert any('path="1"' in name and 'round="2"' in name for name in written)
    losses = [value for name, value in metrics.items() if "round_log_loss_sum" in name]
    assert losses
    assert min(losses) > 0, "a log-score is negative, and what is summed up may not fall"

    for step in ("judge_incumbents", "write", "judge_new", "decide"):
        assert metrics[f'lrgd_round_step_seconds_count{{step="{step}"}}'] == 4

    (run,) = await services.ledger.runs(None, 10)
    assert metrics['lrgd_runs_total{outcome="done"}'] == 1
    assert metrics["lrgd_run_tokens_count"] == 1
    assert metrics["lrgd_run_tokens_sum"] == run.spent.tokens
    prompt, completion = (
        metrics[f'lrgd_round_tokens_total{{part="{part}"}}'] for part in ("prompt", "completion")
    )
    assert prompt + completion == run.spent.tokens


async def test_a_run_that_is_cancelled_is_told_as_such(client: httpx2.AsyncClient) -> None:
    await stock(services_of(client), users=1)
    run = await started(client, users=USERS[:1], rounds=1, settings=SMALL)
    await client.post(f"/admin/runs/{run['run_id']}/cancel")
    metrics = await told(client)
    assert metrics['lrgd_runs_total{outcome="cancelled"}'] == 1
    assert metrics["lrgd_run_tokens_sum"] == 0


async def test_budgets_are_told_as_far_as_they_are_spent(opened_client: ClientFactory) -> None:
    async with opened_client(learning_tokens_per_day=5000) as client:
        services = services_of(client)
        await stock(services, users=1)
        await started(client, users=USERS[:1], rounds=1, settings=SMALL, budget={"tokens": 800_000})
        (claimed,) = await services.ledger.claim(1)
        await services.learner.drive(claimed)
        await started(client, users=USERS[:1], rounds=9, settings=SMALL, budget={"tokens": 100_000})
        (claimed,) = await services.ledger.claim(1)
        await services.learner.drive(claimed)
        await services.automatic.measure()
        metrics = await told(client)
        assert metrics["lrgd_learning_day_tokens_allowed"] == 5000
        assert metrics["lrgd_learning_day_tokens_spent"] == 0, "nothing started by itself"
        newest = max(await services.ledger.runs(None, 10), key=lambda run: run.made_at)
        used = metrics["lrgd_run_budget_used_ratio"]
        assert used == pytest.approx(newest.spent.tokens / 100_000)
        assert 0 < used < 1
