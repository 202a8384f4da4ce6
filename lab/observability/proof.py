"""Whether dashboards and alerts see what there is to see: a real gateway, a real worker and vLLM as
it was recorded are scraped by a real Prometheus, which is then asked every query of every panel.

    python -m lab.observability.proof

A query must be answered, and with data; panels that may be empty are listed here with the reason.
Without Prometheus only names are checked, and that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lab.observability.asked import (
    RULES,
    Asked,
    by_panels,
    by_rules,
    by_variables,
    exported,
    recorded,
    unknown,
)
from lab.observability.deployment import Deployment, deployed, peopled
from lab.observability.grafana import FOLDER as DASHBOARDS
from lab.servers.prometheus import Binaries, PrivatePrometheus, PrometheusFailed, find_prometheus

TESTS = RULES.parent / "tests"
LONGEST_SECONDS = 90.0
# Some series begin with a first round, or a first refusal; each is looked for this often.
EVERY_SECONDS = 1.0
WINDOW = "20s"
VARIABLE = re.compile(r"\$(?:job|vllm|model)\b")

MAY_BE_EMPTY = {
    "Malformed answers by kind and flaw": "the model's answers are well-formed",
    "Retries by reason": "the model in process is not asked over HTTP",
    "Calls refused because too many wait": "the same",
    "Jobs that could not be queued": "the broker is up",
    "Rounds put back, by why": "no worker dies, and the model answers",
    "Perturbations of collapsed paths": "a path may not collapse in so few rounds",
    "Collapses by path": "the same",
}


def names(dashboards: Path, rules: Path) -> list[str]:
    """What is asked for and not there."""
    of_rules = list(by_rules(rules))
    asked = [*by_panels(dashboards), *by_variables(dashboards), *of_rules]
    return unknown(asked, exported() | recorded(of_rules))


def promtool(binaries: Binaries) -> list[str]:
    """What promtool finds wrong with the rules, and with how they behave."""
    rules = sorted(map(str, RULES.glob("*.yml")))
    tests = sorted(map(str, TESTS.glob("*.yml")))
    config = str(RULES.parent / "prometheus.yml")
    wrong = []
    for words in (
        ["check", "config", config],
        ["check", "rules", *rules],
        ["test", "rules", *tests],
    ):
        ran = subprocess.run(
            [binaries.promtool, *words], capture_output=True, text=True, check=False, timeout=120
        )
        if ran.returncode:
            wrong.append(f"promtool {' '.join(words[:2])}:\n{ran.stdout}{ran.stderr}")
    return wrong


def judged(prometheus: PrivatePrometheus, asked: Asked) -> str | None:
    """What is wrong with the answer; None: there is data."""
    promql = VARIABLE.sub(".*", asked.promql.replace("$__rate_interval", WINDOW))
    try:
        found = prometheus.query(promql)
    except PrometheusFailed as error:
        return f"is refused: {error}"
    if not any(math.isfinite(value) for _, value in found):
        return "has no data"
    return None


def live(binaries: Binaries, dashboards: Path, rules: Path) -> dict[Asked, str]:
    """What is wrong with the answers to queries of panels and rules."""
    panels = list(by_panels(dashboards))
    with tempfile.TemporaryDirectory(prefix="lrgd-proof-") as made:
        folder = Path(made)
        with deployed(folder) as deployment:
            config = _config(folder, deployment, rules)
            with PrivatePrometheus(binaries, config) as prometheus:
                wrong = asyncio.run(_asked_among_people(prometheus, deployment, panels))
                wrong |= _misspelled_passes(prometheus, panels[0])
                down = {job for job, health in prometheus.targets().items() if health != "up"}
                for rule in prometheus.rules():
                    if rule["health"] == "err":
                        wrong[Asked("rules", rule["name"], rule["query"])] = rule["lastError"]
    for job in down:
        wrong[Asked("targets", job, "up")] = "is not scraped"
    return wrong


async def _asked_among_people(
    prometheus: PrivatePrometheus, deployment: Deployment, panels: Sequence[Asked]
) -> dict[Asked, str]:
    async with peopled(deployment.gateway):
        return await _until_answered(prometheus, panels)


async def _until_answered(
    prometheus: PrivatePrometheus, panels: Sequence[Asked]
) -> dict[Asked, str]:
    until = time.monotonic() + LONGEST_SECONDS
    open_ = dict.fromkeys(panels, "was not asked")
    while any(one.title not in MAY_BE_EMPTY for one in open_) and time.monotonic() < until:
        await asyncio.sleep(EVERY_SECONDS)
        verdicts = {one: await asyncio.to_thread(judged, prometheus, one) for one in open_}
        open_ = {one: verdict for one, verdict in verdicts.items() if verdict is not None}
    return {
        one: verdict
        for one, verdict in open_.items()
        if one.title not in MAY_BE_EMPTY or verdict != "has no data"
    }


def _misspelled_passes(prometheus: PrivatePrometheus, asked: Asked) -> dict[Asked, str]:
    """The proof of the proof: a metric that nobody exports must not pass."""
    wrong = replace(asked, promql="sum(rate(lrgd_http_reqests_total[$__rate_interval]))")
    return {} if judged(prometheus, wrong) else {wrong: "passes, although nobody exports it"}


def _config(folder: Path, deployment: Deployment, rules: Path) -> Path:
    """As deploy/prometheus, but in seconds: nobody waits five minutes for a rule here."""
    (folder / "rules").mkdir()
    for file in rules.glob("*.yml"):
        text = re.sub(r"interval: \w+", "interval: 1s", file.read_text())
        (folder / "rules" / file.name).write_text(text)
    jobs = "".join(
        f"\n  - job_name: {job}\n    static_configs: [{{targets: ['{address}']}}]"
        for job, address in (
            ("gateway", deployment.gateway),
            ("worker", deployment.worker),
            ("vllm", deployment.vllm),
        )
    )
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['rules/*.yml']\nscrape_configs:{jobs}\n"
    )
    return config


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--dashboards", type=Path, default=DASHBOARDS, help="folder of JSON files")
    given.add_argument("--rules", type=Path, default=RULES, help="folder of rule files")
    given.add_argument("--only-names", action="store_true", help="start nothing")
    told = given.parse_args()
    wrong = names(told.dashboards, told.rules)
    rules = list(by_rules(told.rules))
    queries = list(by_panels(told.dashboards))
    panels = {(one.place, one.title) for one in queries}
    counted = (
        f"{len(panels)} panels with {len(queries)} queries on "
        f"{len({one.place for one in queries})} dashboards, {len(recorded(rules))} recording rules "
        f"and {len(rules) - len(recorded(rules))} alerts"
    )
    binaries = None if told.only_names or wrong else find_prometheus()
    if wrong or told.only_names:
        return _verdict(wrong, f"names: every metric of {counted} is exported")
    if binaries is None:
        return _verdict(
            wrong,
            f"names: every metric of {counted} is exported\n"
            "NOT CHECKED: queries, rules and their tests. There is no Prometheus: install Debian's "
            "package `prometheus`, or let apt-get download it",
        )
    wrong = promtool(binaries)
    if wrong:
        return _verdict(wrong, "")
    failed = live(binaries, told.dashboards, told.rules)
    wrong = [
        f"{one.place}, {one.title}: {verdict}\n  {one.promql}" for one, verdict in failed.items()
    ]
    empty = "".join(f"\n  {title}: {why}" for title, why in MAY_BE_EMPTY.items())
    return _verdict(
        wrong,
        f"{counted}: checked on {binaries.version}, over a real gateway, a real worker and a "
        f"recording of vLLM.\nMay be empty here:{empty}",
    )


def _verdict(wrong: Sequence[str], right: str) -> int:
    if wrong:
        sys.stderr.write("\n".join([*wrong, ""]))
        return 1
    sys.stdout.write(f"{right}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
