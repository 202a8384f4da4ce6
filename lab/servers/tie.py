"""Ties this process to its parent, takes an account, then becomes the command.

    python -I -S tie.py PARENT_PID keep|namespace|switch UID GID COMMAND...

It is a script of its own, run before the server, for two reasons. Python code between fork and exec
can deadlock in a program with threads. And the kernel forgets the tie whenever the credentials
change, so it has to be made after the account is taken: too late for the parent.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def take_account(how: str, uid: int, gid: int) -> None:
    if how == "namespace":
        outside_uid, outside_gid = os.geteuid(), os.getegid()
        _libc("unshare", CLONE_NEWUSER)
        # An unprivileged group map is accepted only after setgroups is given up.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {outside_uid} 1")
        _write("/proc/self/gid_map", f"{gid} {outside_gid} 1")
    elif how == "switch":
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def tie_to(parent: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    # SIGKILL, because a server that a fault test has stopped would not act on anything milder.
    _libc("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent ended before its server began")


def _libc(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*map(ctypes.c_ulong, arguments)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


def main(parent: str, how: str, uid: str, gid: str, *command: str) -> None:
    try:
        take_account(how, int(uid), int(gid))
        tie_to(int(parent))
        os.execv(command[0], command)  # noqa: S606  # it becomes the command, no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]} could not be started with account {how} {uid}:{gid}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
