"""Whether the configured model is there: on its server, or in this process."""

from __future__ import annotations

import httpx2

from services.llm.errors import ModelError, ModelTimeout
from services.llm.port import LanguageModel, Terms
from services.observability.health import CHECK_SECONDS, NotReady
from services.observability.logging import get_logger

log = get_logger(__name__)


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


async def expect_loaded(model: LanguageModel) -> None:
    """NotReady if an embedded model cannot be loaded. Once it is, this costs nothing."""
    try:
        await model.describe(Terms.within(CHECK_SECONDS))
    except ModelTimeout:
        raise NotReady("the embedded model is being loaded") from None
    except ModelError as error:
        log.warning("embedded_model_not_loaded", error=str(error))
        raise NotReady(
            "the embedded model cannot be loaded: see LRGD_LLM_FOLDER (the log says more)"
        ) from None
