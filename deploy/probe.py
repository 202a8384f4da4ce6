"""Health check of a container without curl: exit status 0 if the URL answers with 2xx.

python deploy/probe.py http://127.0.0.1:8000/readyz
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

SECONDS = 4.0


def probe(url: str) -> str | None:
    """What is wrong with the URL, or None."""
    # The address is the container's own: a proxy of the environment must not answer for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"{url} does not answer: {error}"


if __name__ == "__main__":
    sys.exit(probe(sys.argv[1]))
