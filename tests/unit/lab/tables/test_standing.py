from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.tables.candidates import candidates_files
from lab.tables.kept import KeptRow, all_kept, find, keep
from lab.tables.markdown import notes, reached_lines, table2
from lab.tables.report import rendered
from lab.tables.runs import Run, command_line, read_runs, write_run
from lab.tables.standing import figures_of
from services.errors import ConfigurationError

USERS = tuple(f"u{number}" for number in range(40))


def row(name: str, ranks: list[int], candidates: str = "uniform") -> KeptRow:
    size = len(ranks)
    return KeptRow(
        row=name, candidates=candidates, split="abc", key="k", engine=None, weight=0.0,
        users=USERS[:size], ranks=tuple(ranks), aucs=(0.5,) * size, sizes=(50,) * size,
        histories=(4, 8) * (size // 2), degraded=0, malformed=0, seconds=1.0,
    )  # fmt: skip


ROWS = [
    row("popularity", [5] * 40),
    row("sasrec", [2] * 40),
    row("zero_shot", [3] * 20),
    row("generated", [3] * 20),
    row("lrgd", [2] * 18 + [4] * 2),
    row("lrgd_fused", [1] * 20),
]


def test_a_row_is_compared_with_the_best_other_on_common_users() -> None:
    _, detail = figures_of(ROWS)
    told = {one["row"]: one for one in detail["candidates"]["uniform"]["rows"]}
    assert told["sasrec"]["best_other"]["row"] == "lrgd_fused"
    assert told["lrgd_fused"]["best_other"]["row"] == "sasrec"
    assert told["popularity"]["users"] == 40
    assert told["lrgd_fused"]["users"] == 20


def test_the_gain_is_over_the_best_other_row_in_each_metric() -> None:
    figures, _ = figures_of(ROWS)
    assert figures["uniform.lrgd_fused.ndcg@10"] == 1
    assert figures["uniform.gain.ndcg@10"] == pytest.approx(1 / 0.6309297 - 1)
    assert figures["uniform.gain.recall@10"] == 0
    # The best other first place is nobody's.
    assert "uniform.gain.ndcg@1" not in figures
    assert figures["uniform.p.gain"] < 0.01
    assert figures["uniform.p.lrgd_vs_zero_shot"] < 0.01


def test_what_is_reached_is_told_in_words() -> None:
    figures, detail = figures_of(ROWS)
    reached = detail["candidates"]["uniform"]["reached"]
    assert [(one["row"], one["other"]) for one in reached] == [
        ("lrgd", "zero_shot"), ("lrgd", "generated"), ("lrgd_fused", "sasrec"),
    ]  # fmt: skip
    told = "\n".join(reached_lines(detail["candidates"]["uniform"], "ndcg@10"))
    difference = figures["uniform.lrgd.ndcg@10"] - figures["uniform.zero_shot.ndcg@10"]
    assert f"lrgd over zero_shot: {difference:+.4f} nDCG@10" in told
    assert "20 users); in each metric over the row that is best in it: nDCG@10 +58.50 %" in told
    assert told in table2(detail).replace("- lrgd", "lrgd")


def test_rows_are_shown_by_history_on_the_users_that_all_were_asked_about() -> None:
    _, detail = figures_of(ROWS)
    text = table2(detail)
    assert "| popularity | .387 (10) | .387 (10) |" in text
    assert "| lrgd_fused | 1.000 (10) | 1.000 (10) |" in text


def test_a_row_about_fewer_users_is_compared_on_those() -> None:
    """The other's users are easy ones: its mean is above ours, and on these users we are ahead."""
    easy = row("more", [2] * 10)
    figures, detail = figures_of([row("lrgd_fused", [1] * 10 + [9] * 10), easy])
    assert figures["uniform.gain.ndcg@10"] == pytest.approx(1 / 0.6309297 - 1)
    (reached,) = detail["candidates"]["uniform"]["reached"]
    assert (reached["other"], reached["users"]) == ("more", 10)


def test_harm_is_who_is_ranked_worse_than_by_zero_shot() -> None:
    figures, _ = figures_of(ROWS)
    assert figures["uniform.lrgd.harm_rate"] == pytest.approx(0.1)
    assert "uniform.popularity.harm_rate" not in figures


def test_random_and_rows_that_are_missing_are_told() -> None:
    figures, detail = figures_of(ROWS)
    assert figures["uniform.random.recall@10"] == pytest.approx(0.2)
    assert "hgn" in detail["missing"]
    assert "sasrec" not in detail["missing"]


def test_short_histories_have_buckets_of_their_own() -> None:
    _, detail = figures_of([row("popularity", [1, 2])])
    buckets = detail["candidates"]["uniform"]["by_history"]["popularity"]
    assert [one["history"] for one in buckets] == ["up to 7", "8 to 10"]


def test_markdown_has_a_table_for_each_candidates_file() -> None:
    _, detail = figures_of([*ROWS, row("popularity", [9] * 40, "popular")])
    text = table2(detail)
    assert text.count("### Candidates") == 2
    assert "| sasrec | .000 | .631 |" in text


def test_the_report_opens_with_what_limits_the_figures(tmp_path: Path) -> None:
    asked = replace(ROWS[2], engine="in-domain LM", mode="likelihood")
    measured, detail = figures_of([ROWS[0], asked])
    run = Run("table2", "lrgd lab table2 --data games", table2(detail), measured, notes(detail))
    write_run(tmp_path, run)
    text = rendered(read_runs(tmp_path))
    first = text.split("\n\n")[1]
    assert "in-domain LM (mode likelihood), about 20 users" in first
    assert "Not run: covisit," in first
    assert "```sh\nlrgd lab table2 --data games\n```" in text


def test_commands_are_shown_without_paths_of_a_machine() -> None:
    given = ["/x/bin/lrgd", "lab", "table2", "--data", "../some/where/games", "--json"]
    assert command_line(given) == "lrgd lab table2 --data games"
    assert command_line(["lrgd", "--engine", "build/x/model"]) == "lrgd --engine build/x/model"
    assert "http://host/v1" in command_line(["lrgd", "--engine", "http://host/v1"])
    named = ["lrgd", "--engine", "qwen2=/some/where/model", "--engine", "a=http://host/v1?b=/c"]
    assert command_line(named) == "lrgd --engine qwen2=model --engine 'a=http://host/v1?b=/c'"


def test_candidates_files_are_named_shortly_and_apart(tmp_path: Path) -> None:
    for name in ("uniform-8", "uniform-9", "popular-8", "lonely-8"):
        (tmp_path / f"test-{name}.jsonl").touch()
        if name != "lonely-8":
            (tmp_path / f"valid-{name}.jsonl").touch()
    found = {one.test.name: one.name for one in candidates_files(tmp_path)}
    assert found == {
        "test-uniform-8.jsonl": "uniform-8",
        "test-uniform-9.jsonl": "uniform-9",
        "test-popular-8.jsonl": "popular",
    }


def test_what_is_kept_is_found_again_by_row_engine_and_users(tmp_path: Path) -> None:
    mine = replace(ROWS[2], engine="http model/7B", fingerprint="f1")
    another = replace(mine, fingerprint="f2")
    more = replace(mine, users=(*mine.users, "u100"))
    for one in (mine, another, more, ROWS[0]):
        keep(tmp_path, one)
    for one in (mine, another, more, ROWS[0]):
        assert find(tmp_path, "abc", one.name) == one
    assert find(tmp_path, "abc", "zero_shot") is None
    assert len(all_kept(tmp_path, "abc")) == 4


def test_a_torn_row_says_what_to_do(tmp_path: Path) -> None:
    keep(tmp_path, ROWS[0])
    (tmp_path / "abc" / "popularity.json").write_text("{")
    with pytest.raises(ConfigurationError, match="run its row again"):
        find(tmp_path, "abc", "popularity")
