"""Errors as problem+json (RFC 9457), with a stable code, and how OpenAPI documents them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from services.errors import InvalidRequest, PublicError

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    pointer: str = Field(description="Where in the request, as a path.")
    detail: str


class Problem(BaseModel):
    """What went wrong and what to do next."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="Stable; meant for programs.")
    detail: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


def documented(*errors: type[PublicError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may answer with these errors."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        entry = by_status.setdefault(
            error.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        told = f"{error.title} (`{error.code}`)"
        entry["description"] = "; ".join(filter(None, (entry["description"], told)))
    return by_status


def install(app: FastAPI) -> None:
    app.add_exception_handler(PublicError, _public)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> Response:
    body = Problem(
        title=title,
        status=status,
        code=code,
        detail=detail,
        request_id=request.scope.get("request_id"),
        **extra,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE
    )


def field_problems(errors: Sequence[Any]) -> list[FieldProblem]:
    """Pydantic's findings, without the input they quote."""
    return [
        FieldProblem(
            pointer="/" + "/".join(map(str, error["loc"])),
            detail=str(error["msg"]).removeprefix("Value error, "),
        )
        for error in errors
    ]


async def _public(request: Request, error: Exception) -> Response:
    assert isinstance(error, PublicError)
    return problem(
        request,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        headers=error.headers,
        **error.extra,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _public(
        request,
        InvalidRequest(
            "correct the fields listed in `errors`", errors=field_problems(error.errors())
        ),
    )


async def _http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown path, a wrong method, an unreadable body."""
    assert isinstance(error, HTTPException)
    words = str(error.detail)
    if error.status_code == 400:
        found = FieldProblem(pointer="/body", detail="cannot be read as JSON")
        return await _public(request, InvalidRequest("send a JSON document", errors=[found]))
    return problem(
        request,
        status=error.status_code,
        code=words.lower().replace(" ", "_"),
        title=words,
        detail=f"{request.method} {_path_as_sent(request)}: see /docs for what exists",
        headers={**(error.headers or {}), **_allowed(request, error.status_code)},
    )


def _allowed(request: Request, status: int) -> dict[str, str]:
    """Every method of the path: the framework names those of one route, and a path has several."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = request.app.openapi()["paths"].get(path, {})
    if status != 405 or not methods:
        return {}
    return {"Allow": ", ".join(sorted(method.upper() for method in methods))}


def _path_as_sent(request: Request) -> str:
    raw: bytes = request.scope.get("raw_path") or b""
    return raw.decode("ascii", "replace")


async def unexpected(request: Request) -> Response:
    return await _public(
        request, PublicError("this is our fault: report it with the request_id of this reply")
    )
