"""Trials: other users and other seeds, apart from what the tables keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lab.evaluation.evaluation import Watch
from lab.evaluation.files import read_data
from lab.evaluation.methods import Lessons
from lab.tables import table2, trials_shown
from lab.tables.candidates import candidates_files
from lab.tables.kept import KeptRow
from lab.tables.rows import ROWS
from lab.tables.table2 import Bench, Table2
from lab.tables.trial import Trial
from lab.tables.trials import Trials, figures_of_trials, run
from services.errors import ConfigurationError
from services.ranking import Method
from tests.unit.lab.tables.test_data import made
from tests.unit.lab.tables.test_standing import row

COUNTED = ("popularity", "covisit")


def quiet(*_: object) -> None:
    pass


WATCH = Watch(quiet, quiet)


@pytest.fixture
def table(tmp_path: Path) -> Table2:
    made(tmp_path / "data")
    return Table2(tmp_path / "data", COUNTED, out=tmp_path / "out")


def bench(table: Table2) -> Bench:
    return Bench(table, candidates_files(table.data)[0], read_data(table.data), None)


def test_who_is_drawn_depends_on_the_trial_and_not_on_the_order_of_a_file() -> None:
    users = [f"u{number}" for number in range(50)]
    trial = Trial(0, 10)
    assert trial.drawn(users) == trial.drawn(reversed(users))
    assert trial.drawn(users) != set(users[:10]), "the first trial is a sample, too"
    assert len(trial.drawn(users)) == 10
    assert trial.drawn(users) != Trial(1, 10).drawn(users)
    assert Trial(0, 99).drawn(users) == set(users)


def test_a_settled_row_is_cut_to_the_users_who_are_drawn() -> None:
    whole = replace(
        row("popularity", list(range(1, 41))), aucs=tuple(rank / 50 for rank in range(1, 41))
    )
    cut = Trial(3, 7).of(whole)
    assert set(cut.users) == Trial(3, 7).drawn(whole.users)
    assert cut.by_user().items() <= whole.by_user().items()
    assert cut.aucs == tuple(rank / 50 for rank in cut.ranks)
    assert len(cut.sizes) == len(cut.histories) == 7


@pytest.mark.parametrize("name", ["popularity", "sasrec_fused"])
def test_no_trial_has_the_key_of_a_table_or_of_another_trial(table: Table2, name: str) -> None:
    tried = [replace(table, trial=Trial(seed, users)) for seed in (0, 1) for users in (4, 5)]
    keys = {bench(one).key(name) for one in (table, *tried)}
    assert len(keys) == 5


def test_rows_of_a_trial_lie_apart_and_leave_the_tables_as_they_are(table: Table2) -> None:
    table2.run(table, WATCH)
    before = {file: file.read_bytes() for file in table.out.rglob("*.json")}
    assert before
    found = table2.run(replace(table, trial=Trial(0, 3)), WATCH)
    assert {len(one.users) for one in found} == {3}
    after = {file: file.read_bytes() for file in table.out.rglob("*.json")}
    assert before.items() <= after.items()
    assert {file.relative_to(table.out).parts[0] for file in after.keys() - before.keys()} == {
        "trials"
    }


def test_rows_that_depend_on_no_chance_are_those_of_the_table(table: Table2) -> None:
    whole = {one.candidates: one for one in table2.run(table, WATCH) if one.row == "covisit"}
    found = run(Trials(table, 2, 3), WATCH)
    assert len(found) == 2
    for rows in found:
        for one in rows:
            assert len(one.users) == 3
            if one.row == "covisit":
                assert one.by_user().items() <= whole[one.candidates].by_user().items()
    assert not (table.out / "trials").exists()


def test_what_varies_is_what_asks_or_is_fitted() -> None:
    varying = {name for name, one in ROWS.items() if one.varies}
    assert {"zero_shot", "lrgd", "sasrec_fused"} <= varying
    assert not {"popularity", "ease", "sasrec"} & varying


def test_the_seed_reaches_what_learns() -> None:
    lessons = Lessons(3, 4)
    assert lessons.learning(Method()) == lessons.learning(Method(), 0)
    assert lessons.learning(Method(), 2).plan.seed == 2


def of(trial: int, **ranks: int) -> Sequence[KeptRow]:
    """Everybody at one rank; a tenth of them first, in the trial of that number."""
    return [
        row(name, [1] * (4 * trial) + [rank] * (40 - 4 * trial)) for name, rank in ranks.items()
    ]


def test_means_and_deviations_are_over_trials() -> None:
    found = [of(0, popularity=20), of(1, popularity=20), of(2, popularity=20)]
    figures, detail = figures_of_trials(found, ["popularity", "covisit"])
    assert figures["uniform.popularity.ndcg@1"] == pytest.approx(0.1)
    assert figures["uniform.popularity.ndcg@1.sd"] == pytest.approx(0.1)
    assert figures["uniform.popularity.recall@10"] == pytest.approx(0.1)
    assert detail["missing"] == ["covisit"]


def test_wins_are_trials_in_which_one_is_ahead_and_not_level() -> None:
    found = [
        of(0, zero_shot=3, generated=2, lrgd=2, lrgd_fused=1),
        of(0, zero_shot=2, generated=3, lrgd=2, lrgd_fused=4),
        of(0, zero_shot=5, generated=5, lrgd=4, lrgd_fused=3),
    ]
    figures, detail = figures_of_trials(found, [])
    assert figures["uniform.wins.lrgd_over_zero_shot"] == 2
    assert figures["uniform.wins.lrgd_over_generated"] == 2
    assert figures["uniform.wins.lrgd_fused_over_best_other"] == 2
    told = trials_shown.markdown(detail)
    assert "- lrgd ahead of zero_shot: 2 of 3 trials" in told
    assert "lrgd_fused ahead of the best other row" in told


def test_a_row_that_a_trial_lacks_is_missing() -> None:
    found = [of(0, popularity=2, zero_shot=2), of(0, popularity=2)]
    figures, detail = figures_of_trials(found, ["popularity", "zero_shot"])
    assert "uniform.zero_shot.ndcg@1" not in figures
    assert detail["missing"] == ["zero_shot"]
    assert "Not in the trials: zero_shot." in trials_shown.notes(detail)


def test_trials_without_a_row_say_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="--engine"):
        figures_of_trials([[], of(0, popularity=2)], ["popularity"])
