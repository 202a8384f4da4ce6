from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.embedded import EMBEDDED
from lab.tables.kept import KeptRow
from lab.tables.markdown import notes4, table4
from lab.tables.report import rendered
from lab.tables.rows import TABLE4
from lab.tables.runs import Run, read_runs, write_run
from lab.tables.table4 import figures_of_engines, named_engines
from services.errors import ConfigurationError

USERS = tuple(f"u{number}" for number in range(20))


def row(name: str, ranks: list[int], candidates: str = "uniform") -> KeptRow:
    size = len(ranks)
    return KeptRow(
        row=name, candidates=candidates, split="abc", key="k", engine="in-domain LM", weight=0.0,
        users=USERS[:size], ranks=tuple(ranks), aucs=(0.5,) * size, sizes=(50,) * size,
        histories=(8,) * size, degraded=0, malformed=0, seconds=1.0, mode="likelihood",
    )  # fmt: skip


KEPT = {
    "llama": [row("zero_shot", [3] * 20), row("generated", [3] * 20), row("lrgd", [1] * 20)],
    "qwen2": [row("zero_shot", [2] * 20), row("lrgd", [3] * 20), row("lrgd", [2] * 20, "popular")],
}


def test_every_figure_is_named_by_candidates_engine_and_row() -> None:
    figures, _ = figures_of_engines(KEPT)
    assert figures["uniform.llama.lrgd.ndcg@10"] == 1
    assert figures["uniform.llama.zero_shot.ndcg@10"] == pytest.approx(0.5)
    assert figures["uniform.qwen2.zero_shot.ndcg@10"] == pytest.approx(0.6309297)
    assert figures["uniform.qwen2.lrgd.recall@10"] == 1
    assert figures["uniform.qwen2.lrgd.harm_rate"] == 1
    assert figures["popular.qwen2.lrgd.users"] == 20
    assert "popular.llama.lrgd.users" not in figures


def test_each_engine_has_the_method_compared_with_its_own_rows() -> None:
    figures, _ = figures_of_engines(KEPT)
    assert figures["uniform.llama.p.lrgd_vs_zero_shot"] < 0.01
    assert figures["uniform.llama.p.lrgd_vs_generated"] < 0.01
    assert figures["uniform.qwen2.p.lrgd_vs_zero_shot"] < 0.01
    assert "uniform.qwen2.p.lrgd_vs_generated" not in figures


def test_gains_are_for_tables_with_every_kind_of_row() -> None:
    with_fused = {"llama": [*KEPT["llama"], row("lrgd_fused", [1] * 20)]}
    figures, _ = figures_of_engines(with_fused)
    assert not [name for name in figures if "gain" in name]


def test_rows_that_an_engine_lacks_are_told() -> None:
    _, detail = figures_of_engines(KEPT)
    assert detail["missing"]["llama"] == ["best_of_n", "zero_shot_fused", "lrgd_fused"]
    assert "generated" in detail["missing"]["qwen2"]
    complete = {"llama": [row(name, [1] * 20) for name in TABLE4]}
    assert figures_of_engines(complete)[1]["missing"] == {}


def test_nothing_kept_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="without --kept"):
        figures_of_engines({"llama": [], "qwen2": []})


def test_markdown_has_a_column_for_each_engine() -> None:
    text = table4(figures_of_engines(KEPT)[1])
    uniform, popular = text.split("### Candidates: popular")
    assert "| row | llama | qwen2 |" in uniform
    assert "| zero_shot | .000 / .500 / 1.000 | .000 / .631 / 1.000 |" in uniform
    assert "| generated | .000 / .500 / 1.000 |  |" in uniform
    assert "| p of lrgd over zero_shot | 0.0002 | 0.0002 |" in uniform
    assert "| row | qwen2 |" in popular


def test_the_report_says_which_engines_were_asked(tmp_path: Path) -> None:
    measured, detail = figures_of_engines(KEPT)
    run = Run("table4", "lrgd lab table4", table4(detail), measured, notes4(detail))
    write_run(tmp_path, run)
    text = rendered(read_runs(tmp_path))
    first = text.split("\n\n")[1]
    assert "llama, qwen2 (mode likelihood), about 20 users" in first
    assert "nothing of what they reach on instruct models" in first
    assert "Not run with llama: best_of_n" in first
    assert "## Table 4" in text


def folder_of(to: Path, model_type: str) -> str:
    to.mkdir(parents=True)
    (to / "config.json").write_text(json.dumps({"model_type": model_type}))
    return str(to)


def test_an_engine_without_a_name_has_its_own_and_its_family(tmp_path: Path) -> None:
    given = [
        EMBEDDED,
        folder_of(tmp_path / "games-qwen2", "qwen2"),
        "http://host:8000/v1?key=x",
        f"mine={folder_of(tmp_path / 'other', 'phi3')}",
    ]
    engines = named_engines(given, ["NAME-7B"])
    assert list(engines) == ["lrgd-mini (llama)", "games-qwen2 (qwen2)", "NAME-7B", "mine"]
    assert engines["mine"].where == str(tmp_path / "other")
    assert engines["NAME-7B"].where == "http://host:8000/v1?key=x"


def test_engines_of_one_name_must_be_named_apart(tmp_path: Path) -> None:
    given = [folder_of(tmp_path / side / "model", "llama") for side in ("a", "b")]
    with pytest.raises(ConfigurationError, match="NAME="):
        named_engines(given)
    assert list(named_engines([f"a={given[0]}", f"b={given[1]}"])) == ["a", "b"]


def test_models_are_those_of_the_servers_in_their_order() -> None:
    servers = ["a=http://a/v1", "here=onnx", "b=http://b/v1"]
    engines = named_engines(servers, ["one", "two"])
    assert [one.model for one in engines.values()] == ["one", None, "two"]
    alike = named_engines(servers, ["one"])
    assert [one.model for one in alike.values()] == ["one", None, "one"]
    for models, why in (((), "which model"), (("one", "two", "three"), "3 models for 2 servers")):
        with pytest.raises(ConfigurationError, match=why):
            named_engines(servers, models)
    with pytest.raises(ConfigurationError, match="no --engine is a URL"):
        named_engines(["onnx"], ["one"])
