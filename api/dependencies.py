"""What routes ask for: the services, and a caller who may do what the route does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BeforeValidator

from api.middleware import ENCODED_SLASH
from services.access.keys import ANYBODY, Caller, Scope
from services.bootstrap import Services
from services.catalog.inputs import Id
from services.errors import Forbidden, RateLimited, Unauthenticated, UnsupportedMediaType
from services.settings import Auth

# Errors that any route behind a key may answer with.
ACCESS_ERRORS = (Unauthenticated, Forbidden, RateLimited)

bearer = HTTPBearer(
    auto_error=False, description="An API key, made with `lrgd keys create`.", bearerFormat="lrgd_…"
)


# Coroutines, though they wait for nothing: FastAPI would send a plain function to another thread.


async def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def arrived_at(request: Request) -> float:
    """When the request came, of the monotonic clock: from then on its caller waits."""
    moment: float = request.scope["arrived_at"]
    return moment


ArrivedAt = Annotated[float, Depends(arrived_at)]
Provided = Annotated[Services, Depends(services_of)]


def caller_with(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def admitted(
        request: Request,
        response: Response,
        services: Provided,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Caller:
        caller = await _identified(request, services, credentials)
        if not caller.may(scope):
            raise Forbidden(f"this key may not {scope}: it needs the scope `{scope}` or `admin`")
        allowance = await services.rate_limiter.admit(caller.id)
        if allowance is not None:
            response.headers.update(allowance.headers())
        return caller

    return admitted


async def json_body(request: Request) -> bytes:
    """The body as it came. Its type must be said: a page of a stranger can make a browser send
    plain text here without asking, but not JSON."""
    given = media_type_of(request)
    if given != "application/json":
        raise UnsupportedMediaType("send JSON as `Content-Type: application/json`")
    return await request.body()


def media_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


JsonBody = Annotated[bytes, Depends(json_body)]

PathId = Annotated[Id, BeforeValidator(lambda text: str(text).replace(ENCODED_SLASH, "/")), Path()]


async def _identified(
    request: Request, services: Services, credentials: HTTPAuthorizationCredentials | None
) -> Caller:
    if services.settings.auth is Auth.OFF:
        return Caller(request.client.host if request.client else "unknown", ANYBODY)
    if credentials is None:
        raise Unauthenticated("send `Authorization: Bearer <key>` (`lrgd keys create` makes one)")
    return await services.keys.caller_of(credentials.credentials)
