"""What a study keeps was found with one model, under one method: with another one it would mix
what cannot be compared."""

from __future__ import annotations

from pathlib import Path

from lab.engines import EngineChoice
from services.errors import ConfigurationError
from services.llm.port import LanguageModel, Terms
from services.ranking import EvaluationFingerprint, Method

LOAD_SECONDS = 120.0


async def expect_same_engine(folder: Path, model: LanguageModel, method: Method) -> None:
    """Raises ConfigurationError."""
    engine = await model.describe(Terms.within(LOAD_SECONDS))
    digest = EvaluationFingerprint.of(engine.fingerprint, method).digest
    file = folder / "fingerprint"
    if not file.exists():
        file.write_text(digest + "\n")
    elif file.read_text().strip() != digest:
        raise ConfigurationError(
            f"{folder} holds what another model, or other prompts, have answered: name another "
            "folder by --work"
        )


def plain(choice: EngineChoice) -> str:
    """The engine's name as it can stand in a folder's."""
    name = choice.model or Path(choice.where).name
    return "".join(sign if sign.isalnum() or sign in "-._" else "_" for sign in name)
