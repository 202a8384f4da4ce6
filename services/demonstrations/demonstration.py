"""A demonstration: what one user's past shows, in a form that makes the next ranking better."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from services.prompts.titles import MAX_CHARACTERS, clean, normalized

LONGEST_ANSWER, LONGEST_SENTENCE = 8_000, 300  # characters

_FENCED = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", re.DOTALL)


def _one_line(most: int) -> Callable[[str], str]:
    def one_line(text: str) -> str:
        line = normalized(text, most)
        if not line:
            raise ValueError("must say something")
        return line

    return one_line


# Length before content. Only the white space and the Unicode form are mended here: what a model
# must not say has to stay visible to the guards.
Sentence = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_SENTENCE),
    AfterValidator(_one_line(LONGEST_SENTENCE)),
]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CHARACTERS),
    AfterValidator(_one_line(MAX_CHARACTERS)),
]


class Example(BaseModel):
    """A choice that the user has made: after some items, another one, for a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: Annotated[tuple[Title, ...], Field(min_length=1, max_length=4)]
    chose: Title
    because: Sentence


class Demonstration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    preference: Sentence
    evidence: Annotated[tuple[Title, ...], Field(min_length=1, max_length=5)]
    suggestion: Sentence
    example: Example

    @property
    def named_items(self) -> tuple[str, ...]:
        return (*self.evidence, *self.example.after, self.example.chose)

    def as_json(self) -> str:
        """As a model may write it, and as lrgd-mini was taught to: with spaces."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)

    def as_text(self) -> str:
        """As it stands in a prompt: four clean lines."""
        example = self.example
        return "\n".join(
            (
                f"Preference: {_sentence(self.preference)}",
                f"Evidence: {_listed(self.evidence)}.",
                f"Suggestion: {_sentence(self.suggestion)}",
                f"Example: after {_listed(example.after)} the user chose {clean(example.chose)} "
                f"because {_sentence(example.because)}",
            )
        )


@dataclass(frozen=True, slots=True)
class Malformed:
    reason: str


def parse_demonstration(text: str) -> Demonstration | Malformed:
    """A model's answer: one JSON object of the schema, perhaps in a code fence, and no more."""
    if len(text) > LONGEST_ANSWER:
        return Malformed(f"longer than {LONGEST_ANSWER} characters")
    fenced = _FENCED.fullmatch(text)
    try:
        return Demonstration.model_validate_json(fenced[1] if fenced else text.strip(), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return Malformed(f"{place}: {first['msg']}" if place else first["msg"])


def demonstration_schema() -> dict[str, Any]:
    """The JSON schema, for structured output.

    Longest lengths are left to the check of the answer: servers compile them into large grammars.
    """
    schema = Demonstration.model_json_schema()
    example = schema.pop("$defs")["Example"]
    schema["properties"]["example"] = example
    for part in (schema, example, *schema["properties"].values(), *example["properties"].values()):
        for key in ("title", "description", "maxLength"):
            part.pop(key, None)
        part.get("items", {}).pop("maxLength", None)
    return schema


def schema_of_titles(titles: Sequence[str], split: int) -> dict[str, Any]:
    """Items can only be named from `titles`, oldest first, and the example happened: it chose one
    of the titles from `split` on, after some from before."""
    before = list(dict.fromkeys(titles[:split]))
    later = [title for title in dict.fromkeys(titles[split:]) if title not in before]
    schema = demonstration_schema()
    example = schema["properties"]["example"]["properties"]
    schema["properties"]["evidence"]["items"] = _one_of(list(dict.fromkeys(titles)))
    example["after"]["items"] = _one_of(before)
    example["chose"] = _one_of(later)
    return schema


def splits(titles: Sequence[str]) -> list[int]:
    """Where `schema_of_titles` can divide them: something new was chosen later."""
    return [at for at in range(1, len(titles)) if set(titles[at:]) - set(titles[:at])]


def _one_of(titles: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": titles}


def _listed(titles: tuple[str, ...]) -> str:
    return "; ".join(map(clean, titles))


def _sentence(text: str) -> str:
    return f"{clean(text).rstrip(' .')}."
