"""Processes that cannot outlive the Python process that started them, whatever ends it.

On Linux the kernel sees to it (`tie.py`). Elsewhere only the `with` blocks of the callers do.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

_TIE = Path(__file__).with_name("tie.py")
_SPAWN_SECONDS = 10.0


@dataclass(frozen=True)
class Account:
    """Who a process runs as.

    keep: as we do. namespace: as we do, but it sees itself as `uid`. switch: as `uid` for real.
    """

    how: Literal["keep", "namespace", "switch"]
    uid: int
    gid: int


def accounts_without_root() -> Iterator[Account]:
    """Accounts fit for a server that refuses root and wants its uid to have a name, best first."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        yield Account("keep", os.geteuid(), os.getegid())
        return
    nobody = pwd.getpwnam("nobody")
    if sys.platform.startswith("linux"):
        yield Account("namespace", nobody.pw_uid, nobody.pw_gid)
    if os.geteuid() == 0:
        yield Account("switch", nobody.pw_uid, nobody.pw_gid)


def run_tethered(
    command: Sequence[str], account: Account, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Its output is in `stdout`, errors included."""
    return subprocess.run(
        _tied(command, account),
        env=dict(env),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def start_tethered(
    command: Sequence[str], account: Account, env: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server. It keeps its process id when `tie.py` becomes the command."""
    started: Future[subprocess.Popen[bytes]] = Future()

    def keep() -> None:
        try:
            process = subprocess.Popen(
                _tied(command, account),
                env=dict(env),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the tests, which then stop their servers in order.
                start_new_session=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            started.set_exception(error)
            return
        started.set_result(process)
        process.wait()

    # The kernel ties a child to the thread that forked it, not to the process. A thread that waits
    # for the server lives as long as it; the caller's thread might end earlier and take it along.
    threading.Thread(target=keep, name="server-keeper", daemon=True).start()
    return started.result(_SPAWN_SECONDS)


def _tied(command: Sequence[str], account: Account) -> list[str]:
    tie = [sys.executable, "-I", "-S", str(_TIE), str(os.getpid())]
    return [*tie, account.how, str(account.uid), str(account.gid), *command]


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
