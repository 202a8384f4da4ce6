"""Whether the configured model is there: on its server, or in this process."""

from __future__ import annotations

import asyncio

import httpx2

from services.llm.breaker import BreakerState
from services.llm.errors import ModelError, ModelTimeout
from services.llm.port import LanguageModel, Terms
from services.llm.vllm import VllmModel
from services.observability.health import CHECK_SECONDS, Impaired, NotReady
from services.observability.logging import get_logger

# Less than a check may take, so that it can say what it waited for.
ASKED_SECONDS = 0.75 * CHECK_SECONDS

log = get_logger(__name__)


async def expect_model(http: httpx2.AsyncClient, model: str, server: VllmModel) -> str:
    """Impaired if no server is there, or one without the model: lists then come without it. The
    client knows the URL."""
    breaker = f"circuit breaker {server.breaker_state.name.lower().replace('_', '-')}"
    try:
        async with asyncio.timeout(ASKED_SECONDS):
            answer = await http.get("models")
    except (httpx2.HTTPError, TimeoutError) as error:
        raise Impaired(
            f"the model server does not answer ({type(error).__name__}); {breaker}"
        ) from None
    if answer.status_code != httpx2.codes.OK:
        raise Impaired(f"the model server answers /models with {answer.status_code}; {breaker}")
    served = [entry.get("id") for entry in answer.json().get("data", [])]
    if model not in served:
        raise Impaired(
            f"the model server does not serve the model of LRGD_LLM_MODEL, but {len(served)} others"
        )
    if server.breaker_state is BreakerState.OPEN:
        raise Impaired(f"the model server keeps failing; {breaker}")
    return breaker


async def expect_loaded(model: LanguageModel) -> None:
    """NotReady while an embedded model is being loaded, Impaired if it cannot be. Once it is loaded
    this costs nothing."""
    try:
        await model.describe(Terms.within(ASKED_SECONDS))
    except ModelTimeout:
        raise NotReady("the embedded model is being loaded") from None
    except ModelError as error:
        log.warning("embedded_model_not_loaded", error=str(error))
        raise Impaired(
            "the embedded model cannot be loaded: see LRGD_LLM_FOLDER (the log says more)"
        ) from None
