"""How alike two texts are in meaning: the cosine of what an OpenAI-compatible endpoint makes of
them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from services.errors import ConfigurationError
from services.llm.errors import (
    Flaw,
    MalformedAnswer,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
)

AT_ONCE = 64  # texts in a request

Vector = tuple[float, ...]


@dataclass(frozen=True)
class EmbeddingsConfig:
    """`url` with or without the trailing /v1; `seconds` for all requests of a question."""

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    seconds: float = 30.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(
                f"LRGD_EMBEDDINGS_URL: {self.url!r} is not an http or https URL"
            )


class _Row(BaseModel):
    index: int
    embedding: Vector


class _Answer(BaseModel):
    data: list[_Row]


class Embeddings:
    """Made inside the event loop that uses it."""

    def __init__(
        self, config: EmbeddingsConfig, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._config = config
        self._http = httpx2.AsyncClient(
            base_url=config.url.rstrip("/").removesuffix("/v1"),
            headers={"authorization": f"Bearer {config.api_key}"} if config.api_key else {},
            timeout=config.seconds,
            transport=transport,
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def alike(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Of each pair, from 0 (nothing in common) to 1. Each text is asked about once. Raises
        ModelError."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        try:
            # The client's own timeout begins anew with every request; this one does not.
            async with asyncio.timeout(self._config.seconds):
                vectors = [
                    vector
                    for begin in range(0, len(texts), AT_ONCE)
                    for vector in await self._vectors(texts[begin : begin + AT_ONCE])
                ]
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise ModelTimeout(
                f"the embeddings server did not answer within {self._config.seconds:g} s"
            ) from error
        known = dict(zip(texts, vectors, strict=True))
        return [_cosine(known[one], known[other]) for one, other in pairs]

    async def _vectors(self, texts: Sequence[str]) -> list[Vector]:
        asked = {"model": self._config.model, "input": list(texts)}
        try:
            answer = await self._http.post("/v1/embeddings", json=asked)
        except httpx2.TimeoutException:
            raise
        except httpx2.TransportError as error:
            raise ModelUnavailable(
                f"no connection to the embeddings server at {self._config.url}: {error}"
            ) from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise ModelUnavailable(f"the embeddings server failed ({answer.status_code})")
        if answer.status_code != 200:
            raise ModelRefused(
                f"the embeddings server refused ({answer.status_code}): see LRGD_EMBEDDINGS_URL, "
                f"LRGD_EMBEDDINGS_MODEL and LRGD_EMBEDDINGS_API_KEY; it said {answer.text[:300]}"
            )
        return _read(answer.content, len(texts))


def _read(content: bytes, wanted: int) -> list[Vector]:
    try:
        rows = {one.index: one.embedding for one in _Answer.model_validate_json(content).data}
    except ValidationError as error:
        raise _malformed(f"{error.error_count()} fields are missing or wrong") from None
    if sorted(rows) != list(range(wanted)):
        raise _malformed(f"{len(rows)} vectors for {wanted} texts")
    if len({len(vector) for vector in rows.values()}) > 1:
        raise _malformed("vectors of several lengths")
    return [rows[index] for index in range(wanted)]


def _malformed(why: str) -> MalformedAnswer:
    message = f"the embeddings server answered something else than embeddings: {why}"
    return MalformedAnswer(Flaw.WRONG_SHAPE, message)


def _cosine(one: Vector, other: Vector) -> float:
    """No less than 0: texts that are opposites are no more different than strangers."""
    norms = math.hypot(*one) * math.hypot(*other)
    product = math.fsum(mine * theirs for mine, theirs in zip(one, other, strict=True))
    return max(0.0, min(1.0, product / norms)) if norms else 0.0
