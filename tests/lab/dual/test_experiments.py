"""Every experiment runs, small, with the figures that comparisons over time rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

from cli.main import app

pytestmark = pytest.mark.lab

EXPERIMENTS = {
    "dual": (("--seeds", "1", "--prompts", "1"), {"phi3.float32.logit_error.L32"}),
    "fig8": (
        ("--draws", "20"),
        {"a.exact_se", "b.exact_se", "a.rff100.median_se", "a.rff100.p95_se"}
        | {
            "a.rff100.nonpositive_rate",
            "a.zero_baseline.pass_rate",
            "a.no_demo_baseline.pass_rate",
        },
    ),
    "kernel-error": (("--draws", "3"), {"d64.features10000.trig.nonpositive_rate"}),
    "depth": (("--seeds", "1", "--prompts", "1"), {"realistic.exact.error.L32", "mini.trig.error"}),
    "collapse-theory": (("--draws", "5"), {"perturbation.0.5.cosine_to_own_step"}),
    "influence": (
        ("--prompts", "4"),
        {"spearman.heldout", "spearman.attention_mass", "spearman.masking"},
    ),
    "explain": (("--user", "1000"), {"logprob"}),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_prints_its_figures_and_draws_them(name: str, tmp_path: Path) -> None:
    options, expected = EXPERIMENTS[name]
    done = CliRunner().invoke(app, ["lab", name, *options, "--json", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["command"] == f"lrgd lab {name}"
    assert expected <= set(told["figures"])
    assert all(isinstance(value, float) for value in told["figures"].values())
    assert {file.suffix for file in tmp_path.iterdir()} == {".svg", ".png"}
    assert all(file.stat().st_size > 1_000 for file in tmp_path.iterdir())


def test_a_figure_is_the_same_file_again(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        where = ["--out", str(tmp_path / folder)]
        CliRunner().invoke(app, ["lab", "collapse-theory", "--draws", "3", *where])
    one, other = (tmp_path / folder / "collapse-theory.svg" for folder in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_fig8_is_exact_in_every_panel(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["lab", "fig8", "--draws", "100", "--json", "--out", str(tmp_path)]
    )
    figures = json.loads(done.stdout)["figures"]
    exact = [value for name, value in figures.items() if name.endswith("exact_se")]
    assert len(exact) == 4  # three panels, and the corrected start of each round
    assert max(exact) < 1e-24
    assert figures["b.printed_start.median_se"] > 1e-4
