"""How well lrgd-mini ranks, on users that neither training nor its watching has seen."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lab.metrics import ndcg, random_ndcg, recall
from lab.mini.answering import Answer, Asked, Examiner, answer_all, read_answers
from lab.mini.conditions import CANDIDATES, Condition, Question, questions
from lab.servers.vllm import PrivateVllm
from lab.shop.taste import EVALUATION_USERS, Shop
from lab.statistics import DRAWS, estimate, paired_bootstrap, spearman
from services.demonstrations.similarity import mean_pairwise
from services.llm.connection import ServerConfig
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import EngineFingerprint, Terms
from services.llm.vllm import VllmModel
from services.observability.metrics import Metrics
from services.prompts import Mode
from services.ranking import EvaluationFingerprint, Method, Ranker

CUTOFF = 10
SAMPLED_USERS = 50
TIMED_USERS = 60
VLLM_AT_ONCE = 8
VLLM_FLAGS = {
    "--dtype": "float32",
    # Where white space in JSON is forbidden, this model cannot write what it was taught: with some.
    "--structured-outputs-config": '{"backend": "guidance"}',
}

Figures = dict[str, float]
Tell = Callable[[str, int, int], None]  # what, how many are done, of how many


@dataclass(frozen=True)
class Evaluation:
    """`vllm` is a Python environment with vLLM, which serves the same weights in float32; without
    one its figures are left out."""

    folder: Path
    out: Path
    users: int = 1000
    processes: int = 2
    vllm: Path | None = None
    vllm_users: int = 100
    method: Method = field(default=Method())

    @property
    def numbers(self) -> range:
        return EVALUATION_USERS[: self.users]

    @property
    def asked(self) -> Asked:
        return Asked(self.method, tuple(Mode), frozenset(self.numbers[:SAMPLED_USERS]))


def evaluate(evaluation: Evaluation, tell: Tell) -> tuple[Figures, dict[str, Any]]:
    """Figures, and tables beside them."""
    onnx = _by_onnx(evaluation, tell)
    figures = _ranking_figures("onnx", onnx)
    figures |= _comparisons(onnx)
    figures |= _demonstration_figures(onnx)
    figures |= asyncio.run(_timings(evaluation, tell))
    detail = {"users": len(onnx), "onnx": _table(onnx), "readings": _readings(onnx)}
    if evaluation.vllm is not None:
        vllm = _by_vllm(evaluation, evaluation.vllm, tell)
        figures |= _ranking_figures("vllm", vllm)
        figures["agreement.spearman"] = _agreement(onnx, vllm)
        detail |= {"vllm_users": len(vllm), "vllm": _table(vllm)}
    return figures, detail


# --- asking ---------------------------------------------------------------------------------------


def _by_onnx(evaluation: Evaluation, tell: Tell) -> list[Answer]:
    """In processes of one thread each: together they are faster than one with as many threads."""
    folder = _kept_in(evaluation, asyncio.run(_fingerprint(evaluation.folder)))
    wanted = frozenset(evaluation.numbers)
    done = {answer.user for answer in read_answers(folder.glob("onnx-*.jsonl"), wanted)}
    left = [number for number in evaluation.numbers if number not in done]
    shards = [left[n :: evaluation.processes] for n in range(evaluation.processes)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(evaluation.processes, mp_context=context) as pool:
        running = [
            pool.submit(_shard, evaluation, numbers, folder / f"onnx-{n}.jsonl")
            for n, numbers in enumerate(shards)
            if numbers
        ]
        while True:
            answers = read_answers(folder.glob("onnx-*.jsonl"), wanted)
            tell("onnx", len(answers), evaluation.users)
            if all(one.done() for one in running):
                break
            time.sleep(2)
        for one in running:
            one.result()
    return read_answers(folder.glob("onnx-*.jsonl"), wanted)


def _shard(evaluation: Evaluation, numbers: Sequence[int], file: Path) -> None:
    async def work() -> None:
        shop = Shop()
        async with OnnxModel(OnnxConfig(evaluation.folder), Metrics()) as model:
            examiner = Examiner(model, shop, evaluation.asked)
            for number in numbers:
                await answer_all(examiner, _questions(shop, [number], evaluation.method), file)

    asyncio.run(work())


def _by_vllm(evaluation: Evaluation, environment: Path, tell: Tell) -> list[Answer]:
    numbers = evaluation.numbers[: evaluation.vllm_users]
    asked = replace(evaluation.asked, modes=(Mode.FIRST_TOKEN, Mode.GENERATE), sampled=frozenset())
    tell("vllm", 0, len(numbers))
    with PrivateVllm(evaluation.folder, environment=environment, flags=VLLM_FLAGS) as server:
        return asyncio.run(_asked_of_vllm(evaluation, asked, numbers, server, tell))


async def _asked_of_vllm(
    evaluation: Evaluation, asked: Asked, numbers: Sequence[int], server: PrivateVllm, tell: Tell
) -> list[Answer]:
    shop = Shop()
    async with VllmModel(ServerConfig(server.url, server.model), Metrics()) as model:
        engine = await model.describe(Terms.within(60))
        file = _kept_in(evaluation, engine.fingerprint) / "vllm.jsonl"
        done = {answer.user for answer in _read(file, numbers)}
        left = [number for number in numbers if number not in done]
        examiner = Examiner(model, shop, asked)
        for begin in range(0, len(left), VLLM_AT_ONCE):
            part = _questions(shop, left[begin : begin + VLLM_AT_ONCE], evaluation.method)
            await answer_all(examiner, part, file, at_once=VLLM_AT_ONCE)
            tell("vllm", len(_read(file, numbers)), len(numbers))
    return _read(file, numbers)


def _read(file: Path, numbers: Sequence[int]) -> list[Answer]:
    return read_answers([file] if file.exists() else [], frozenset(numbers))


def _questions(shop: Shop, numbers: Sequence[int], method: Method) -> list[Question]:
    return questions(shop, numbers, method.form.limits.history_items)


async def _fingerprint(folder: Path) -> EngineFingerprint:
    async with OnnxModel(OnnxConfig(folder), Metrics()) as model:
        return (await model.describe(Terms.within(60))).fingerprint


def _kept_in(evaluation: Evaluation, engine: EngineFingerprint) -> Path:
    """Answers of other weights or another method are not mixed with these."""
    kept = evaluation.out / EvaluationFingerprint.of(engine, evaluation.method).digest
    kept.mkdir(parents=True, exist_ok=True)
    return kept


# --- figures --------------------------------------------------------------------------------------


def _ranking_figures(engine: str, answers: Sequence[Answer]) -> Figures:
    figures: Figures = {}
    for condition in Condition:
        ranks = [answer.ranks[condition] for answer in answers]
        figures[f"{engine}.{condition}.ndcg@10"] = _mean([ndcg(rank, CUTOFF) for rank in ranks])
        figures[f"{engine}.{condition}.ndcg@1"] = _mean([ndcg(rank, 1) for rank in ranks])
        figures[f"{engine}.{condition}.recall@10"] = _mean([recall(rank, CUTOFF) for rank in ranks])
    modes = [mode for mode in Mode if all(mode in answer.mode_ranks for answer in answers)]
    for mode in modes:
        ranks = [answer.mode_ranks[mode] for answer in answers]
        figures[f"{engine}.{mode}.ndcg@10"] = _mean([ndcg(rank, CUTOFF) for rank in ranks])
    if engine == "onnx":
        popular = [ndcg(answer.popularity_rank, CUTOFF) for answer in answers]
        figures["popularity.ndcg@10"] = _mean(popular)
        figures["random.ndcg@10"] = random_ndcg(CANDIDATES, CUTOFF)
    return figures


def _gains(answers: Sequence[Answer], condition: Condition) -> list[float]:
    return [ndcg(answer.ranks[condition], CUTOFF) for answer in answers]


def _comparisons(answers: Sequence[Answer]) -> Figures:
    zero_shot = _gains(answers, Condition.ZERO_SHOT)
    figures = {}
    for name, condition in (
        ("oracle", Condition.ORACLE_DEMO),
        ("other_users", Condition.OTHER_USERS_DEMO),
        ("generated", Condition.GENERATED),
    ):
        gains = _gains(answers, condition)
        figures[f"onnx.p.{name}_vs_zero_shot"] = paired_bootstrap(gains, zero_shot).p
        figures[f"onnx.ratio.{name}_over_zero_shot"] = _mean(gains) / _mean(zero_shot)
    return figures


def _demonstration_figures(answers: Sequence[Answer]) -> Figures:
    """Well-formed: parsed, and refused by no guard, at the first try. Alike: of the same user."""
    constrained = [text for answer in answers for text in answer.samples]
    free = [text for answer in answers for text in answer.free_samples]
    alike = [
        mean_pairwise(texts)
        for answer in answers
        if len(texts := [text for text in answer.samples if text is not None]) > 1
    ]
    return {
        "demo.well_formed": _mean([float(text is not None) for text in constrained]),
        "demo.well_formed_unconstrained": _mean([float(text is not None) for text in free]),
        "demo.mean_pairwise_similarity": _mean(alike),
        "demo.generated_rate": _mean([float(answer.written is not None) for answer in answers]),
    }


def _agreement(onnx: Sequence[Answer], vllm: Sequence[Answer]) -> float:
    """Of the label scores of the same prompts, by user."""
    by_user = {answer.user: answer.label_scores for answer in onnx}
    return _mean([spearman(by_user[answer.user], answer.label_scores) for answer in vllm])


def _table(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """A row for each condition, its interval over users, and its test against zero_shot."""
    zero_shot = _gains(answers, Condition.ZERO_SHOT)
    rows = []
    for condition in Condition:
        gains = _gains(answers, condition)
        spread, against = estimate(gains), paired_bootstrap(gains, zero_shot)
        rows.append(
            {
                "condition": condition.value,
                "ndcg@10": spread.mean,
                "interval": [spread.low, spread.high],
                "times_random": spread.mean / random_ndcg(CANDIDATES, CUTOFF),
                "over_zero_shot": against.difference,
                "over_zero_shot_interval": [against.low, against.high],
                "p": against.p,
                "draws": DRAWS,
            }
        )
    return rows


def _readings(answers: Sequence[Answer]) -> dict[str, Any]:
    lists, refusals = Counter[str](), Counter[str]()
    for answer in answers:
        lists.update(answer.readings)
        refusals.update(refusal.partition(":")[0] for refusal in answer.refusals)
    return {"lists": dict(lists), "refused_demonstrations": dict(refusals)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


# --- time -----------------------------------------------------------------------------------------


async def _timings(evaluation: Evaluation, tell: Tell) -> Figures:
    """One ranking of 50 candidates, one thread: nothing cached; and instruction, demonstration and
    history cached, the candidates fresh."""
    asked = _questions(Shop(), evaluation.numbers[-TIMED_USERS:], evaluation.method)
    requests = [one.under(Condition.ORACLE_DEMO, evaluation.method)[0] for one in asked]
    figures: Figures = {}
    for name, cache in (("cold", 0), ("cached", OnnxConfig(evaluation.folder).cache_bytes)):
        config = OnnxConfig(evaluation.folder, cache_bytes=cache)
        async with OnnxModel(config, Metrics()) as model:
            ranker = Ranker(model)
            seconds, tokens = [], []
            for number, request in enumerate(requests):
                fresh = replace(request, candidates=requests[number - 1].candidates)
                if number == 0 or name == "cached":
                    await ranker.rank(request, evaluation.method, Terms.within(60))
                began = time.perf_counter()
                ranked = await ranker.rank_all([fresh], evaluation.method, Terms.within(60))
                seconds.append(time.perf_counter() - began)
                tokens.append(ranked.usage.prompt)
                tell(f"times, {name}", number + 1, len(requests))
        figures[f"onnx.{name}.p50_ms"] = statistics.median(seconds) * 1e3
        figures["onnx.prompt_tokens"] = statistics.median(tokens)
    return figures
