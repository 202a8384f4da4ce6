"""Whether the configured model server answers and serves the configured model."""

from __future__ import annotations

import httpx2

from services.observability.health import NotReady


async def expect_model(http: httpx2.AsyncClient, model: str) -> None:
    """NotReady if a server is there without the model. The client knows URL and deadline."""
    answer = await http.get("models")
    if answer.status_code != httpx2.codes.OK:
        raise NotReady(f"the model server answers /models with {answer.status_code}")
    served = [entry.get("id") for entry in answer.json().get("data", [])]
    if model not in served:
        raise NotReady(
            f"the model server does not serve the model of LRGD_LLM_MODEL, but {len(served)} others"
        )
