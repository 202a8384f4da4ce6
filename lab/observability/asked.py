"""What dashboards and rules ask Prometheus for, read from the very files that are deployed, and
whether the metrics they name exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from lab.observability.grafana import FOLDER as DASHBOARDS
from lab.observability.vllm_recording import Recording
from services.observability.metrics import Metrics

RULES = DASHBOARDS.parents[1] / "prometheus" / "rules"
# What is quoted or stands between braces are labels and their values.
_LABELS = re.compile(r'"[^"]*"|\{[^}]*\}')
_METRIC = re.compile(r"\b(?:(?:lrgd|vllm)[_:][a-zA-Z0-9_:]*|up\b)")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


@dataclass(frozen=True, slots=True)
class Asked:
    """PromQL, and where it stands: a panel of a dashboard, or a rule of a file."""

    place: str
    title: str
    promql: str

    @property
    def metrics(self) -> set[str]:
        return set(_METRIC.findall(_LABELS.sub("", self.promql)))


def by_panels(folder: Path = DASHBOARDS) -> Iterator[Asked]:
    for file in sorted(folder.glob("*.json")):
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield Asked(file.name, panel["title"], target["expr"])


def by_variables(folder: Path = DASHBOARDS) -> Iterator[Asked]:
    for file in sorted(folder.glob("*.json")):
        for variable in json.loads(file.read_text())["templating"]["list"]:
            metric, _, _ = variable["query"].removeprefix("label_values(").partition(",")
            yield Asked(file.name, f"${variable['name']}", metric)


def by_rules(folder: Path = RULES) -> Iterator[Asked]:
    for file in sorted(folder.glob("*.yml")):
        for group in YAML(typ="safe").load(file)["groups"]:
            for rule in group["rules"]:
                yield Asked(file.name, rule.get("record") or rule["alert"], rule["expr"])


def recorded(rules: Iterable[Asked]) -> set[str]:
    return {rule.title for rule in rules if ":" in rule.title}


def exported() -> set[str]:
    """Of our registry, of vLLM as it was recorded, and of Prometheus itself."""
    ours = {
        family.name + suffix
        for family in text_string_to_metric_families(Metrics().render().decode())
        for suffix in _SUFFIXES[family.type]
    }
    return ours | Recording.read().names | {"up"}


def unknown(asked: Iterable[Asked], known: set[str]) -> list[str]:
    """A line for each metric that nobody exports, and where it is asked for."""
    return [
        f"{one.place}, {one.title}: nobody exports {metric}"
        for one in asked
        for metric in sorted(one.metrics - known)
    ]
