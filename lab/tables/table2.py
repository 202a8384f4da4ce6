"""Table 2: every kind of recommender on the same candidates."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import LOAD_SECONDS, Evaluation, Material, Watch, outcome_of
from lab.evaluation.evaluation import read_material as read
from lab.evaluation.files import Data, read_data
from lab.evaluation.methods import METHODS
from lab.evaluation.questions import Split
from lab.tables.baselines.settings import SETTINGS, Trained
from lab.tables.candidates import CandidatesFile, candidates_files
from lab.tables.estimate import Asked, asked_for, pace_of
from lab.tables.kept import KeptRow, all_kept, find, keep, name_of
from lab.tables.rows import ROWS, TABLE2
from lab.tables.trial import Trial
from services.errors import ConfigurationError
from services.llm.errors import AbilityMissing, LabelsUnfit
from services.llm.port import EngineFingerprint, Terms
from services.ranking import EvaluationFingerprint, Method


@dataclass(frozen=True)
class Table2:
    """`rows` are run where they are not kept; those that ask a model only where `engine` is named,
    for the first `users` users of each file. `kept_alone`: none is run. `trial`: about the users
    that it draws, with its seed; what that keeps lies apart."""

    data: Path
    rows: tuple[str, ...] = TABLE2
    engine: EngineChoice | None = None
    ranking: Method = field(default=Method())
    users: int | None = None
    out: Path = Path("build/tables")
    seconds: float = 60.0
    kept_alone: bool = False
    trial: Trial | None = None

    def __post_init__(self) -> None:
        if unknown := [row for row in self.rows if row not in ROWS]:
            raise ConfigurationError(f"there is no row {unknown[0]}: there are {', '.join(ROWS)}")

    @property
    def kept_in(self) -> Path:
        return self.out if self.trial is None else self.out / "trials"

    def wanted(self) -> list[str]:
        return [row for row in self.rows if self.engine is not None or not ROWS[row].asks]


def run(table: Table2, watch: Watch) -> list[KeptRow]:
    """Every row that is wanted, from what is kept where that is the same; and of those that ask a
    model and are not wanted, what is kept."""
    return asyncio.run(_run(table, watch))


async def _run(table: Table2, watch: Watch) -> list[KeptRow]:
    files = candidates_files(table.data)
    data = read_data(table.data)
    engine = None if table.engine is None else await fingerprint_of(table.engine)
    found: list[KeptRow] = []
    benches = [Bench(table, file, data, engine) for file in files]
    if not table.kept_alone:
        await _say_what_is_asked(table, benches, watch)
    for file, bench in zip(files, benches, strict=True):
        for done, row in enumerate(table.wanted(), start=1):
            one = bench.kept(row) if table.kept_alone else await _row(bench, row, watch)
            found += [] if one is None else [one]
            watch.tell(f"rows, {file.name}", done, len(table.wanted()))
        if table.engine is None:
            found += bench.kept_of_models()
    return found


async def _row(bench: Bench, row: str, watch: Watch) -> KeptRow | None:
    """None, which is told, where the engine cannot be asked in this row's way: all others can."""
    try:
        return await bench.row(row, watch)
    except (AbilityMissing, LabelsUnfit) as error:
        watch.say(f"{row} is left out: {error}")
        return None


async def _say_what_is_asked(table: Table2, benches: Sequence[Bench], watch: Watch) -> None:
    """Before it is, for it may take days."""
    asked = Asked()
    for bench in benches:
        rows = [ROWS[row] for row in table.wanted() if bench.kept(row) is None]
        users = len(bench.split.first(table.users).questions)
        asked += asked_for(rows, users, table.ranking)
    if table.engine is None or asked == Asked():
        return
    async with contextlib.aclosing(make_model(table.engine)) as model:
        means = replace(benches[0].material.means, model=model, ranking=table.ranking)
        known = await pace_of(benches[0].split.questions, means)
    watch.say(known.told(asked.rankings, asked.texts, table.engine.calls_at_once))


@dataclass
class Bench:
    """One candidates file."""

    table: Table2
    file: CandidatesFile
    data: Data
    engine: EngineFingerprint | None

    def __post_init__(self) -> None:
        self.material: Material = read(self._evaluation("popularity"), self.data)
        self.split = self._drawn(self.material.split)

    def kept(self, row: str) -> KeptRow | None:
        """Where it was made with the same."""
        kept = find(self._folder, self.split.digest, self._name(row))
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
        material = replace(material, means=self.material.means, split=self.split)
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
            fingerprint=outcome.detail["engine_fingerprint"],
        )

    def kept_of_models(self) -> list[KeptRow]:
        """Of the engine that most rows are kept of; of each row that of most users."""
        wanted = set(self.table.rows)
        there = [
            one
            for one in all_kept(self._folder, self.split.digest)
            if one.fingerprint is not None and one.row in wanted
        ]
        engines = [one.fingerprint for one in there]
        most = max(engines, key=engines.count, default=None)
        of_most = [one for one in there if one.fingerprint == most]
        return list({one.row: one for one in sorted(of_most, key=_users_asked)}.values())

    def _drawn(self, split: Split) -> Split:
        trial = self.table.trial
        if trial is None:
            return split
        return split.of(trial.drawn(question.user_id for question in split.questions))

    def _name(self, row: str) -> str:
        if self.engine is None or not ROWS[row].asks:
            return row
        users = len(self.split.first(self.table.users).questions)
        return name_of(row, self.engine.model, self.engine.digest, users)

    def key(self, row: str) -> str:
        """Of everything that a rank of this row may depend on."""
        recipe = METHODS[ROWS[row].method]
        parts: list[object] = [self.split.digest, row]
        if recipe.asks is not None:
            assert self.engine is not None, "a row that asks a model was wanted without one"
            method = recipe.asks(ROWS[row].asked(self.table.ranking))
            asked = EvaluationFingerprint.of(self.engine, method)
            parts += [asked.digest, self.table.users]
            if recipe.learns is not None:
                parts += [dataclasses.asdict(recipe.learns), recipe.learns.plan(method).as_row()]
        if recipe.picks is not None:
            parts.append(recipe.picks)
        if recipe.trains:
            parts.append(SETTINGS[Trained(ROWS[row].method.removesuffix("_fused"))].digest)
        if recipe.trains or recipe.taught or ROWS[row].fused:
            parts.append(self._valid_digest)
        if self.table.trial is not None:
            parts.append(["trial", *dataclasses.astuple(self.table.trial)])
        content = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @cached_property
    def _valid_digest(self) -> str:
        files = sorted(self.table.data.glob("valid-*.jsonl"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]

    @property
    def _folder(self) -> Path:
        rows = self.table.kept_in / "rows"
        return rows if self.table.trial is None else rows / self.table.trial.name

    def _evaluation(self, row: str) -> Evaluation:
        table, one = self.table, ROWS[row]
        return Evaluation(
            data=table.data,
            split=self.file.test,
            method=one.method,
            out=table.kept_in / "scores",
            weight=None if one.fused else 0.0,
            valid=self.file.valid,
            users=table.users if one.asks else None,
            engine=table.engine or EngineChoice(),
            ranking=one.asked(table.ranking),
            seconds=table.seconds,
            trained=table.out / "trained",
            seed=0 if table.trial is None else table.trial.seed,
        )


def _users_asked(kept: KeptRow) -> int:
    return len(kept.users)


async def fingerprint_of(choice: EngineChoice) -> EngineFingerprint:
    async with contextlib.aclosing(make_model(choice)) as model:
        return (await model.describe(Terms.within(LOAD_SECONDS))).fingerprint
