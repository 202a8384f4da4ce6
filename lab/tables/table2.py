"""Table 2: every kind of recommender on the same candidates."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import random
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import LOAD_SECONDS, Evaluation, Material, Watch, outcome_of
from lab.evaluation.evaluation import read_material as read
from lab.evaluation.files import Data, beside, read_data
from lab.evaluation.methods import METHODS
from lab.tables.baselines.settings import SETTINGS, Trained
from lab.tables.kept import KeptRow, all_kept, find, keep
from lab.tables.rows import ROWS, TABLE2
from services.errors import ConfigurationError
from services.llm.port import EngineFingerprint, Terms
from services.ranking import EvaluationFingerprint, Method


@dataclass(frozen=True)
class CandidatesFile:
    """`test-NAME-….jsonl` and the validation file beside it."""

    name: str
    test: Path
    valid: Path


@dataclass(frozen=True)
class Table2:
    """`rows` are run where they are not kept; those that ask a model only where `engine` is named,
    for the first `users` users of each file. `kept_alone`: none is run."""

    data: Path
    rows: tuple[str, ...] = TABLE2
    engine: EngineChoice | None = None
    ranking: Method = field(default=Method())
    users: int | None = None
    out: Path = Path("build/tables")
    seconds: float = 60.0
    kept_alone: bool = False

    def __post_init__(self) -> None:
        if unknown := [row for row in self.rows if row not in ROWS]:
            raise ConfigurationError(f"there is no row {unknown[0]}: there are {', '.join(ROWS)}")

    def wanted(self) -> list[str]:
        return [row for row in self.rows if self.engine is not None or not ROWS[row].asks]


def candidates_files(folder: Path) -> list[CandidatesFile]:
    pairs = [(test, beside(test)) for test in sorted(folder.glob("test-*.jsonl"), reverse=True)]
    there = [(test, valid) for test, valid in pairs if valid is not None and valid.is_file()]
    short = [test.stem.split("-")[1] for test, _ in there]
    found = [
        CandidatesFile(
            name if short.count(name) == 1 else test.stem.removeprefix("test-"), test, valid
        )
        for name, (test, valid) in zip(short, there, strict=True)
    ]
    if not found:
        raise ConfigurationError(
            f"--data: {folder} has no test-*.jsonl with a valid-*.jsonl beside it"
        )
    return found


def run(table: Table2, watch: Watch) -> list[KeptRow]:
    """Every row that is wanted, from what is kept where that is the same; and of those that ask a
    model and are not wanted, what is kept."""
    return asyncio.run(_run(table, watch))


async def _run(table: Table2, watch: Watch) -> list[KeptRow]:
    files = candidates_files(table.data)
    data = read_data(table.data)
    engine = None if table.engine is None else await _fingerprint(table.engine)
    found: list[KeptRow] = []
    for file in files:
        bench = _Bench(table, file, data, engine)
        for done, row in enumerate(table.wanted(), start=1):
            one = bench.kept(row) if table.kept_alone else await bench.row(row, watch)
            found += [] if one is None else [one]
            watch.tell(f"rows, {file.name}", done, len(table.wanted()))
        if table.engine is None:
            found += bench.kept_of_models()
    return found


@dataclass
class _Bench:
    """One candidates file."""

    table: Table2
    file: CandidatesFile
    data: Data
    engine: EngineFingerprint | None

    def __post_init__(self) -> None:
        self.material: Material = read(self._evaluation("popularity"), self.data)
        self.split = self.material.split

    def kept(self, row: str) -> KeptRow | None:
        """Where it was made with the same."""
        engine = self.engine.model if self.engine is not None and ROWS[row].asks else None
        kept = find(self._folder, self.split.digest, row, engine)
        return kept if kept is not None and kept.key == self.key(row) else None

    async def row(self, row: str, watch: Watch) -> KeptRow:
        kept = self.kept(row)
        if kept is not None and not kept.degraded:
            return kept
        fresh = await self.asked(row, self.key(row), watch)
        keep(self._folder, fresh)
        return fresh

    async def asked(
        self, row: str, key: str, watch: Watch, recheck: frozenset[str] | None = None
    ) -> KeptRow:
        began = time.monotonic()
        evaluation = replace(self._evaluation(row), recheck=recheck)
        material = read(evaluation, self.data)
        # What was counted once need not be counted again.
        material = replace(material, means=self.material.means)
        outcome = await outcome_of(evaluation, material, watch)
        told = outcome.told
        return KeptRow(
            row=row,
            candidates=self.file.name,
            split=self.split.digest,
            key=key,
            engine=outcome.detail["engine"],
            weight=told.weight,
            users=tuple(question.user_id for question in told.split.questions),
            ranks=tuple(one.rank for one in told.shown),
            aucs=tuple(one.auc for one in told.shown),
            sizes=tuple(one.candidates for one in told.shown),
            histories=tuple(one.history for one in told.shown),
            degraded=told.failures.total(),
            malformed=told.malformed,
            seconds=round(time.monotonic() - began, 1),
            mode=evaluation.ranking.mode.value if ROWS[row].asks else None,
        )

    def kept_of_models(self) -> list[KeptRow]:
        """Of the engine that most rows are kept of."""
        kept = [one for one in all_kept(self._folder, self.split.digest) if one.engine is not None]
        engines = [one.engine for one in kept]
        most = max(engines, key=engines.count, default=None)
        wanted = set(self.table.rows)
        return [one for one in kept if one.engine == most and one.row in wanted]

    def key(self, row: str) -> str:
        """Of everything that a rank of this row may depend on."""
        recipe = METHODS[ROWS[row].method]
        parts: list[object] = [self.split.digest, row]
        if recipe.asks is not None:
            assert self.engine is not None, "a row that asks a model was wanted without one"
            asked = EvaluationFingerprint.of(
                self.engine, recipe.asks(ROWS[row].asked(self.table.ranking))
            )
            parts += [asked.digest, self.table.users]
        if recipe.learns is not None:
            parts.append(dataclasses.asdict(recipe.learns))
        if recipe.picks is not None:
            parts.append(recipe.picks)
        if recipe.trains:
            parts.append(SETTINGS[Trained(ROWS[row].method.removesuffix("_fused"))].digest)
        if recipe.trains or recipe.taught or ROWS[row].fused:
            parts.append(self._valid_digest)
        content = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @cached_property
    def _valid_digest(self) -> str:
        files = sorted(self.table.data.glob("valid-*.jsonl"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]

    @property
    def _folder(self) -> Path:
        return self.table.out / "rows"

    def _evaluation(self, row: str) -> Evaluation:
        table, one = self.table, ROWS[row]
        return Evaluation(
            data=table.data,
            split=self.file.test,
            method=one.method,
            out=table.out / "scores",
            weight=None if one.fused else 0.0,
            valid=self.file.valid,
            users=table.users if one.asks else None,
            engine=table.engine or EngineChoice(),
            ranking=one.asked(table.ranking),
            seconds=table.seconds,
            trained=table.out / "trained",
        )


# --- asked again ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rechecked:
    row: str
    candidates: str
    users: int
    differ: int


def recheck(table: Table2, users: int, watch: Watch, seed: int = 0) -> list[Rechecked]:
    """Asks anew about so many random users of every kept row, and compares."""
    return asyncio.run(_recheck(table, users, watch, seed))


async def _recheck(table: Table2, users: int, watch: Watch, seed: int) -> list[Rechecked]:
    data = read_data(table.data)
    engine = None if table.engine is None else await _fingerprint(table.engine)
    found = []
    for file in candidates_files(table.data):
        bench = _Bench(table, file, data, engine)
        for row in table.wanted():
            kept = await bench.row(row, watch)
            few = random.Random(f"{seed} {row}").sample(kept.users, min(users, len(kept.users)))
            again = await bench.asked(row, kept.key, watch, frozenset(few))
            before, now = kept.by_user(), again.by_user()
            differ = sum(before[user] != now[user] for user in few)
            found.append(Rechecked(row, file.name, len(few), differ))
    return found


async def _fingerprint(choice: EngineChoice) -> EngineFingerprint:
    async with contextlib.aclosing(make_model(choice)) as model:
        return (await model.describe(Terms.within(LOAD_SECONDS))).fingerprint
