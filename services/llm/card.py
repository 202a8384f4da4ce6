"""The card of a model that was trained with our own prompts: what it is, what it was taught, how
good it was measured to be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from services.errors import ConfigurationError

CARD = "card.json"


class WrongPrompts(ConfigurationError):
    """The model was taught other prompts than those it would be asked."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(_Part):
    command: str
    seed: int
    tokens: int
    data: str


class Quality(_Part):
    """`command` prints these figures again."""

    command: str
    figures: dict[str, FiniteFloat]


class ModelCard(_Part):
    """`prompts` has the version of everything the model was taught to read and to write."""

    name: str
    purpose: str
    not_for: str
    architecture: str
    parameters: int
    context_tokens: int
    prompts: dict[str, str]
    training: Training
    quality: Quality | None = None


def read_card(folder: Path) -> ModelCard | None:
    """None for a model without a card: any other than ours. Raises ConfigurationError."""
    file = folder / CARD
    if not file.is_file():
        return None
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{file} is not a model card: {where} {first['msg']}") from None


def expect_prompts(card: ModelCard, versions: Mapping[str, str]) -> None:
    """A small model reads a prompt only as it was taught. Raises WrongPrompts."""
    differing = [
        f"{name} (taught {card.prompts.get(name, 'none')}, in use {version})"
        for name, version in versions.items()
        if card.prompts.get(name) != version
    ]
    if differing:
        raise WrongPrompts(
            f"{card.name} was trained with other prompts than those in use: "
            f"{', '.join(differing)}. Use a model that was trained with these, by LRGD_LLM_FOLDER "
            "(`lrgd lab mini train` makes one), or one that needs no such training, by LRGD_LLM_URL"
        )
