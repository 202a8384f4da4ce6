"""`lrgd lab evaluate` and what it needs, as people and scripts use them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.llm.scripted import Script
from services.llm.scripted_server import ScriptedServer
from tests.integration.cli.conftest import Done, Lrgd
from tests.integration.llm.test_scripted_server import served

USERS = 12
TSV = ("items.tsv", "sequences.tsv")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of questions; the others lie beside it."""
    split = tmp_path_factory.mktemp("shop") / "test-few.jsonl"
    done = Lrgd()(
        "lab", "shop", "split", "--users", str(USERS), "--crowd", "60", "--out", str(split)
    )
    assert done.code == 0, done.said
    return split


class Evaluating:
    def __init__(self, split: Path, out: Path) -> None:
        self._given = ("--split", str(split), "--out", str(out))

    def __call__(self, method: str, *more: str) -> Done:
        return Lrgd()("lab", "evaluate", "--method", method, *self._given, *more)

    def json(self, method: str, *more: str) -> dict[str, Any]:
        done = self(method, "--json", *more)
        assert done.code == 0, done.said
        told: dict[str, Any] = json.loads(done.out)
        return told


@pytest.fixture
def evaluating(shop: Path, tmp_path: Path) -> Evaluating:
    return Evaluating(shop, tmp_path / "kept")


@pytest.fixture
def server() -> Iterator[tuple[ScriptedServer, tuple[str, ...]]]:
    """A server that can be had for a URL, and the options that name it."""
    scripted = ScriptedServer()
    with served(scripted) as url:
        yield scripted, ("--engine", url, "--model", scripted.script.model)


FIGURES = {"ndcg@1", "ndcg@10", "recall@10", "effect_d", "gauc", "users", "degraded", "malformed"}


@pytest.mark.parametrize("method", ["popularity", "covisit", "retrieval"])
def test_counting_needs_no_model_and_beats_chance(evaluating: Evaluating, method: str) -> None:
    told = evaluating.json(method)
    assert told["command"] == "lrgd lab evaluate"
    assert told["figures"].keys() >= FIGURES
    assert told["figures"]["users"] == USERS
    assert told["figures"]["gauc"] > 0.5
    for name, (low, high) in told["detail"]["intervals"].items():
        assert low <= told["figures"][name] <= high


@pytest.mark.parametrize("mode", ["first_token", "likelihood", "generate"])
def test_the_embedded_model_ranks_in_every_mode(evaluating: Evaluating, mode: str) -> None:
    told = evaluating.json("zero_shot", "--mode", mode, "--users", "3")
    assert told["engine"] == "lrgd-mini"
    assert told["figures"]["users"] == 3
    assert told["figures"]["degraded"] == 0
    assert sum(told["detail"]["readings"].values()) == (3 if mode == "generate" else 0)


@pytest.mark.parametrize(
    "method", ["re2llm", "more", "generated", "best_of_n", "lrgd", "lrgd_fused"]
)
def test_what_learns_learns_on_validation_targets_and_then_ranks(
    evaluating: Evaluating, method: str
) -> None:
    told = evaluating.json(method, "--users", "2")
    assert told["figures"]["users"] == 2
    assert told["figures"]["degraded"] == 0
    assert (told["detail"]["fitted_lambda"] is None) == (method != "lrgd_fused")
    assert evaluating.json(method, "--users", "2")["figures"] == told["figures"]


@pytest.mark.parametrize(
    "method",
    ["llm4rs", "llmrank", "icl_recent", "icl_random", "icl_nearest", "llmsrec_syn", "likelihood"],
)
def test_baselines_that_ask_a_model_rank_everybody(evaluating: Evaluating, method: str) -> None:
    told = evaluating.json(method, "--users", "3")
    assert told["figures"]["users"] == 3
    assert told["figures"]["degraded"] == 0


def test_who_cannot_learn_without_a_validation_file_says_so(shop: Path, tmp_path: Path) -> None:
    alone = tmp_path / "some.jsonl"
    for file, name in ((shop, alone.name), *((shop.with_name(tsv), tsv) for tsv in TSV)):
        (tmp_path / name).write_bytes(file.read_bytes())
    done = Evaluating(alone, tmp_path)("lrgd")
    assert done.code == 2
    assert "--valid" in done.said


def test_a_file_of_any_name_is_learned_for_by_the_validation_file_about_its_users(
    shop: Path, tmp_path: Path
) -> None:
    """Here of some of the users, with candidates in another order."""
    rows = [json.loads(line) for line in shop.read_text().splitlines()[:2]]
    for row in rows:
        row["candidates"].reverse()
    mine = tmp_path / "hidden.jsonl"
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = Evaluating(mine, tmp_path).json("lrgd_fused", "--data", str(shop.parent))
    assert told["figures"]["users"] == 2
    assert told["detail"]["fitted_lambda"]["on"] == "valid-few.jsonl"


def test_what_is_asked_is_not_learned_from(shop: Path, tmp_path: Path) -> None:
    done = Evaluating(shop, tmp_path)("more", "--users", "2", "--valid", str(shop))
    assert done.code == 2
    assert "asks about" in done.said


def test_people_get_rows_to_compare_with_and_buckets_by_history(evaluating: Evaluating) -> None:
    done = evaluating("zero_shot", "--users", "4", "--lambda", "0.5")
    assert done.code == 0, done.said
    for row in ("random", "popularity", "covisit", "retrieval", "zero_shot, lambda 0.5", "over 20"):
        assert row in done.said
    assert "lambda0.ndcg@10" in done.out
    assert re.search(r"over the best other row, (popularity|covisit|retrieval): [+-]", done.said)


def test_lambda_is_fitted_on_the_validation_file_of_the_same_users(
    evaluating: Evaluating, shop: Path
) -> None:
    done = evaluating("zero_shot", "--users", "5", "--lambda", "fit", "--json")
    assert done.code == 0, done.said
    told = json.loads(done.out)
    fitted = told["detail"]["fitted_lambda"]
    assert fitted["on"] == "valid-few.jsonl"
    assert told["figures"]["lambda"] == fitted["lambda"]
    assert f"fitted on {shop.with_name('valid-few.jsonl')}" in done.said


def test_a_second_call_asks_only_for_users_it_has_no_answer_of(
    evaluating: Evaluating, server: tuple[ScriptedServer, tuple[str, ...]]
) -> None:
    scripted, named = server
    first = evaluating.json("zero_shot", "--users", "4", *named)
    asked = len(scripted.received)
    again = evaluating.json("zero_shot", "--users", "4", "--lambda", "2", *named)
    for name, value in first["figures"].items():
        if f"lambda0.{name}" in again["figures"]:
            assert again["figures"][f"lambda0.{name}"] == value
    probing = len(scripted.received) - asked
    evaluating.json("zero_shot", *named)
    assert len(scripted.received) - asked - probing > probing, "the other users are asked for"


def test_another_method_or_prompt_is_kept_apart(evaluating: Evaluating) -> None:
    told = [
        evaluating.json(method, "--users", "2", *more)["detail"]["evaluation_fingerprint"]
        for method, more in (
            ("zero_shot", ()),
            ("zero_shot_long", ()),
            ("zero_shot", ("--template", "paper")),
            ("zero_shot", ("--permutations", "2")),
            ("zero_shot", ("--calibrated",)),
        )
    ]
    assert len(set(told)) == len(told)


def test_users_whom_the_model_fails_are_ranked_by_the_prior_and_counted(
    evaluating: Evaluating,
) -> None:
    short_of_context = ScriptedServer(Script(context_tokens=300))
    with served(short_of_context) as url:
        done = evaluating(
            "zero_shot", "--engine", url, "--model", "scripted", "--at-once", "3", "--json"
        )
    assert done.code == 0, done.said
    told = json.loads(done.out)
    assert told["figures"]["degraded"] == told["figures"]["users"] == USERS
    assert told["detail"]["failures"] == {"context_overflow": USERS}
    assert f"context_overflow {USERS}" in done.said
    prior = evaluating.json("retrieval")["figures"]
    assert told["figures"]["ndcg@10"] == prior["ndcg@10"]


def test_a_server_that_cannot_do_it_at_all_ends_the_evaluation(
    evaluating: Evaluating, server: tuple[ScriptedServer, tuple[str, ...]]
) -> None:
    done = evaluating("zero_shot", "--mode", "likelihood", *server[1])
    assert done.code == 2
    assert "do not score titles" in done.said


def test_calls_under_way_at_once_are_bounded(evaluating: Evaluating) -> None:
    most, now, lock = 0, 0, threading.Lock()

    class Counting(ScriptedServer):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            try:
                await super().__call__(scope, receive, send)
            finally:
                now -= 1

    with served(Counting()) as url:
        evaluating.json("zero_shot", "--engine", url, "--model", "scripted", "--at-once", "2")
    assert 1 <= most <= 2


def test_lrgd_mini_says_that_it_does_not_know_other_titles(
    evaluating: Evaluating, shop: Path, tmp_path: Path
) -> None:
    assert "say nothing" not in evaluating("zero_shot", "--users", "1").said
    for file in shop.parent.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    items = tmp_path / "items.tsv"
    items.write_text(re.sub("Classic", "Ancient", items.read_text()))
    other = Evaluating(tmp_path / shop.name, tmp_path / "kept")
    assert "say nothing of the method" in other("zero_shot", "--users", "1").said


def test_the_split_may_be_named_within_the_data_folder(shop: Path) -> None:
    arguments = ("--data", str(shop.parent), "--split", shop.name, "--method", "popularity")
    assert Lrgd()("lab", "evaluate", *arguments, "--json").code == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--lambda", "much"), "--lambda is a number from 0 on, or fit"),
        (("--lambda", "-1"), "--lambda is a number from 0 on, or fit"),
        (("--engine", "http://127.0.0.1:1/v1"), "--model: which model"),
        (("--model", "any"), "--model is for a server"),
        (("--engine", "nowhere"), "is no model for ONNX Runtime"),
        (("--calibrated", "--mode", "generate"), "only first_token has a label prior"),
        (("--lambda", "fit", "--valid", "none.jsonl"), "there is no file none.jsonl"),
        (("--split", "none.jsonl"), "there is no file none.jsonl"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    evaluating: Evaluating, options: tuple[str, ...], complaint: str
) -> None:
    done = evaluating("zero_shot", "--users", "1", *options)
    assert done.code == 2
    assert complaint in done.said


def test_a_bad_line_is_told_with_its_number(shop: Path, tmp_path: Path) -> None:
    for file in shop.parent.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    bad = tmp_path / shop.name
    bad.write_text(bad.read_text() + "{\n")
    done = Evaluating(bad, tmp_path)("popularity")
    assert done.code == 2
    assert f"test-few.jsonl, line {USERS + 1}: this is not JSON" in done.said
