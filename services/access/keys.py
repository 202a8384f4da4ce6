"""API keys: made once, shown once, stored as a digest, checked against the database and trusted
for a few seconds."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from services.access.models import ApiKey
from services.access.repository import ApiKeyRepository
from services.errors import InvalidRequest, NotFound, Unauthenticated
from services.storage.database import Database

MARK = "lrgd"
MOST_CACHED = 10_000
LONGEST_NAME = 200


class Scope(StrEnum):
    RECOMMEND = "recommend"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a key, or anybody where authentication is off."""

    id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYBODY = frozenset(Scope)


class ApiKeys:
    def __init__(self, database: Database, *, trusted_seconds: float) -> None:
        self.database = database
        self._trusted_seconds = trusted_seconds
        self._trusted: dict[bytes, tuple[float, Caller]] = {}

    async def create(self, name: str, scopes: Collection[Scope]) -> str:
        """A new key. Its text is returned here and can never be shown again."""
        if not (1 <= len(name) <= LONGEST_NAME and name.isprintable()):
            raise InvalidRequest(f"a key's name has 1 to {LONGEST_NAME} printable characters")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = ApiKey(
            key_id=key_id,
            name=name,
            scopes=sorted(scopes),
            digest=_digest(secret),
            created_at=datetime.now(UTC),
        )
        await self.database.write(lambda session: ApiKeyRepository(session).add(key))
        return f"{MARK}_{key_id}_{secret}"

    async def all(self) -> Sequence[ApiKey]:
        async with self.database.reading() as session:
            return await ApiKeyRepository(session).all()

    async def revoke(self, key_id: str) -> None:
        now = datetime.now(UTC)
        if not await self.database.write(
            lambda session: ApiKeyRepository(session).revoke(key_id, now)
        ):
            raise NotFound(f"there is no active key {key_id}: `lrgd keys list` shows them")

    async def caller_of(self, text: str) -> Caller:
        """The caller behind a key's text, or Unauthenticated."""
        fingerprint = _digest(text)
        until, caller = self._trusted.get(fingerprint, (0.0, None))
        if caller is not None and time.monotonic() < until:
            return caller
        caller = await self._checked(text)
        if len(self._trusted) >= MOST_CACHED:
            self._trusted.clear()
        self._trusted[fingerprint] = (time.monotonic() + self._trusted_seconds, caller)
        return caller

    async def _checked(self, text: str) -> Caller:
        mark, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        key = None
        if mark == MARK and secret and key_id.isalnum():
            async with self.database.reading() as session:
                key = await ApiKeyRepository(session).get(key_id)
        # The digest is compared even without a key, so that the time taken tells nothing.
        matches = hmac.compare_digest(_digest(secret), key.digest if key else bytes(32))
        if key is None or not matches:
            raise Unauthenticated("the API key is not known: `lrgd keys create` makes one")
        if key.revoked_at is not None:
            raise Unauthenticated("the API key was revoked: ask for a new one")
        return Caller(key.key_id, frozenset(map(Scope, key.scopes)))


def _digest(text: str) -> bytes:
    """Keys are 256 random bits: a plain hash is as good as a slow one."""
    return hashlib.sha256(text.encode(errors="replace")).digest()
