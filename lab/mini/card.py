"""The model card of lrgd-mini: for programs (card.json), and rendered for people (README.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.mini.families import Family
from services.errors import ConfigurationError
from services.llm.card import CARD, ModelCard, Quality, Training, read_card

README = "README.md"

PURPOSE = (
    "Trying the system out, its tests, and CI: it ranks in context, reads and writes "
    "demonstrations, and needs no GPU, no download and no account."
)
NOT_FOR = (
    "production, real shops, or any text but the system's own prompts. It was trained from nothing "
    "on the items and the generated users of the sample shop, and knows no other words."
)
DATA = (
    "generated users of the sample shop (lab/shop), drawn while training, in the system's own "
    "prompts; none of them is in the sample shop, none is used in an evaluation"
)


@dataclass(frozen=True)
class About:
    """What a card says that the training's figures do not. `given` are the command's options."""

    name: str
    purpose: str
    not_for: str
    data: str
    given: str = ""


COURSES: Mapping[str, About] = {
    "shop": About("lrgd-mini", PURPOSE, NOT_FOR, DATA),
    "in-domain": About(
        "in-domain LM",
        "Experiments on the data set that it was taught: the rows of the tables that ask a model.",
        "anything else. It was trained from nothing on the titles of one data set, ranks by "
        "likelihood alone, and knows no labels.",
        "titles in the order in which a data set's users chose them, in the system's own prompts; "
        "none of the users whom its candidates files ask about, and of all others not the two "
        "newest items",
        " --data DIR",
    ),
}


def make_card(state: Mapping[str, Any], parameters: int) -> ModelCard:
    """Of a training's checkpoint. Nobody has measured the model yet."""
    run, about = state["run"], COURSES[state.get("course", "shop")]
    family = Family(state["shape"].get("family", Family.LLAMA))
    given = about.given if family is Family.LLAMA else f"{about.given} --family {family}"
    return ModelCard(
        name=about.name,
        purpose=about.purpose,
        not_for=about.not_for,
        architecture=family.architecture,
        parameters=parameters,
        context_tokens=state["shape"]["longest"],
        prompts=state["prompts"],
        training=Training(
            command=f"lrgd lab mini train --out build/mini --millions {run['tokens'] / 1e6:g} "
            f"--seed {run['seed']} --threads {run['threads']} --width {run['width']} "
            f"--layers {run['layers']}{given}",
            seed=run["seed"],
            tokens=state["progress"]["tokens"],
            data=about.data,
        ),
    )


def write_card(card: ModelCard, folder: Path) -> list[Path]:
    """Both forms of it."""
    files = {CARD: card.model_dump_json(indent=2) + "\n", README: rendered(card)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def write_quality(
    folder: Path, figures: Mapping[str, float], command: str = "lrgd lab mini evaluate"
) -> None:
    """Into the card that lies there. `command` prints these figures again."""
    card = read_card(folder)
    if card is None:
        raise ConfigurationError(f"{folder} has no {CARD}: `lrgd lab mini export` writes one")
    quality = Quality(command=command, figures=dict(figures))
    write_card(card.model_copy(update={"quality": quality}), folder)


def rendered(card: ModelCard) -> str:
    training = card.training
    return f"""\
# {card.name}

{card.architecture}, {card.parameters:,} parameters, a context of {card.context_tokens:,} tokens, \
weights in float16.

**For:** {card.purpose}

**Not for:** {card.not_for}

## Training

{training.tokens:,} tokens of {training.data}.

```sh
{training.command}
lrgd lab mini export build/mini
```

It was taught these versions of the prompts; with others the system refuses to start.

| prompt | version |
|---|---|
{_rows(card.prompts)}

## Quality

{_quality(card)}"""


def _quality(card: ModelCard) -> str:
    if card.quality is None:
        return "Not measured yet.\n"
    return f"""\
Measured with

```sh
{card.quality.command}
```

| figure | value |
|---|---|
{_rows({name: f"{value:.4g}" for name, value in card.quality.figures.items()})}
"""


def _rows(table: Mapping[str, str]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in table.items())
