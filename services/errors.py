"""The errors a caller can meet, as one small tree.

Each public error has an HTTP status, a stable code that programs may compare, and a message that
tells the reader what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar


class LrgdError(Exception):
    """Anything this system says on purpose."""


class ConfigurationError(LrgdError):
    """The process cannot start as configured. The message names the setting."""


class PublicError(LrgdError):
    """An error that is answered to a caller as problem+json."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra


class InvalidRequest(PublicError):
    status, code, title = 422, "invalid_request", "The request does not fit the schema"


class MalformedCursor(PublicError):
    status, code, title = 422, "malformed_cursor", "The cursor is not one of ours"


class NotFound(PublicError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(PublicError):
    status, code, title = 409, "conflict", "Conflicts with the present state"


class TooLarge(PublicError):
    status, code, title = 413, "too_large", "The request is too large"


class UnsupportedMediaType(PublicError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class Unauthenticated(PublicError):
    status, code, title = 401, "unauthenticated", "An API key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(PublicError):
    status, code, title = 403, "forbidden", "The API key lacks the scope"


class RateLimited(PublicError):
    status, code, title = 429, "rate_limited", "Too many requests"


class Overloaded(PublicError):
    status, code, title = 429, "over_capacity", "Too much is under way"


class Unavailable(PublicError):
    status, code, title = 503, "unavailable", "A needed part is down"
