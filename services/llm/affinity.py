"""Whose prompt a call of the model is about, so that a proxy before several model servers can send
it to the one that has read the beginning of it before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "x-session-id"

_about: ContextVar[str | None] = ContextVar("about", default=None)


@contextmanager
def about(user_id: str | None) -> Iterator[None]:
    """Calls inside the block, and in tasks that are started there."""
    token = _about.set(user_id)
    try:
        yield
    finally:
        _about.reset(token)


def headers() -> dict[str, str]:
    """A digest: the same for the same user, and not the id itself."""
    user_id = _about.get()
    if user_id is None:
        return {}
    return {HEADER: hashlib.sha256(user_id.encode()).hexdigest()[:16]}
