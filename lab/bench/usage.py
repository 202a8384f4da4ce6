"""Runs a command to its end and writes down what it used.

    python -I -S usage.py REPORT COMMAND...

A process of its own, and a small one: what a process holds as it forks counts towards the peak
memory of the one it forks, even after that one has become something else.
"""

import json
import os
import sys
import time
from pathlib import Path

TIE = Path(__file__).parents[1] / "servers" / "tie.py"


def main(report: str, *command: str) -> None:
    tie = [sys.executable, "-I", "-S", str(TIE), str(os.getpid())]
    tied = [*tie, "keep", str(os.geteuid()), str(os.getegid()), *command]
    began = time.perf_counter()
    process = os.posix_spawn(tied[0], tied, os.environ)
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    Path(report).write_text(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            }
        )
    )
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
