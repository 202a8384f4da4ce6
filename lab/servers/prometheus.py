"""A real Prometheus of one's own, of Debian's package.

An installed one is taken, else the package is downloaded by apt and unpacked below `build`, which
needs no root: nothing is installed. Where neither can be had, `find_prometheus` says None.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.servers.processes import OURSELVES
from lab.servers.scratch import ScratchFolder
from lab.servers.tether import start_tethered
from services.ports import LOOPBACK, free_port

FOLDER = Path(__file__).parents[2] / "build" / "prometheus"
PACKAGE = "prometheus"
DOWNLOAD_SECONDS = 120.0
START_SECONDS = 30.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Binaries:
    server: Path
    promtool: Path

    @property
    def version(self) -> str:
        said = subprocess.run(
            [self.server, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
        return (said.stdout or said.stderr).split("(")[0].strip()


def find_prometheus(folder: Path = FOLDER) -> Binaries | None:
    for search in (None, str(folder / "usr" / "bin")):
        found = [shutil.which(name, path=search) for name in ("prometheus", "promtool")]
        if all(found):
            return Binaries(*(Path(str(one)) for one in found))
    return find_prometheus(folder) if _unpacked(folder) else None


def _unpacked(folder: Path) -> bool:
    """Whether there is something new to find."""
    download, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if download is None or unpack is None or (folder / "usr").exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [download, "download", "-qq", PACKAGE],
            cwd=folder, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS,
        )  # fmt: skip
        (package,) = folder.glob(f"{PACKAGE}_*.deb")
        subprocess.run([unpack, "-x", package, folder], check=True, capture_output=True)
    except (subprocess.SubprocessError, OSError, ValueError):
        return False
    package.unlink()
    return True


class PrometheusFailed(RuntimeError):
    """The server or a query failed; the message carries what was said."""


class PrivatePrometheus:
    """Runs from `with` to the end of its block, or of this process, however that ends."""

    def __init__(self, binaries: Binaries, config: Path) -> None:
        self._binaries = binaries
        self._config = config
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        self._scratch = ScratchFolder("lrgd-prometheus-").__enter__()
        self._log = self._scratch.path / "log"
        flags = [
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._scratch.path / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
        ]
        with self._log.open("wb") as log:
            self._process = start_tethered(
                [str(self._binaries.server), *flags], OURSELVES, {"PATH": os.defpath}, log
            )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def query(self, promql: str) -> Sequence[tuple[Mapping[str, str], float]]:
        """Now. Raises PrometheusFailed, with its complaint, for what is no PromQL."""
        found = self._get("/api/v1/query", query=promql)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def targets(self) -> dict[str, str]:
        """By job, whether the last scrape worked: up or down."""
        active = self._get("/api/v1/targets")["activeTargets"]
        return {one["labels"]["job"]: one["health"] for one in active}

    def rules(self) -> Sequence[Mapping[str, Any]]:
        groups = self._get("/api/v1/rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _get(self, path: str, **asked: str) -> Any:
        url = f"{self.url}{path}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            said = json.loads(error.read())
            raise PrometheusFailed(str(said.get("error", error))) from None

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                said = self._log.read_text(errors="replace")[-2000:]
                raise PrometheusFailed(f"Prometheus did not start. Its log ends:\n{said}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._scratch.__exit__(None, None, None)
