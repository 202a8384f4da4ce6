"""Stage 1: demonstrations written by the model, checked, and asked for again where unfit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.demonstrations.demonstration import (
    Demonstration,
    Malformed,
    parse_demonstration,
)
from services.demonstrations.generation import GeneratorPrompt
from services.demonstrations.guards import Refused, check
from services.llm.port import (
    Count,
    Finish,
    GenerationRequest,
    JsonSchema,
    LanguageModel,
    Sampling,
    Terms,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Writing:
    """How to write. `named_from_list`: the answer's schema names the listed items alone, so that
    no other can be written; a server then compiles a schema for every call. `limit` is in tokens of
    the text as it stands in a prompt."""

    temperature: float = 0.8
    max_tokens: int = 320
    attempts: int = 3
    named_from_list: bool = True
    constrained: bool = True
    limit: int = 160


@dataclass(frozen=True, slots=True)
class Task:
    """`seed` draws the first attempt; each further one has its own. `temperature` None: as all."""

    prompt: GeneratorPrompt
    seed: int
    temperature: float | None = None


@dataclass(frozen=True)
class Outcome:
    """`demonstration` is None where no attempt was fit; `refusals` say why each was not."""

    demonstration: Demonstration | None
    refusals: tuple[str, ...]
    usage: Usage


@dataclass
class _Open:
    task: Task
    demonstration: Demonstration | None = None
    refusals: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


class Generator:
    """`is_item` tells whether a folded title is one of the catalog's (see `guards.check`)."""

    def __init__(
        self, model: LanguageModel, *, is_item: Callable[[str], bool] | None = None
    ) -> None:
        self._model = model
        self._is_item = is_item

    async def write(
        self, tasks: Sequence[Task], terms: Terms, writing: Writing = Writing()
    ) -> tuple[Outcome, ...]:
        """All tasks together, attempt by attempt. Raises ModelError."""
        opened = [_Open(task) for task in tasks]
        for attempt in range(writing.attempts):
            asked = [one for one in opened if one.demonstration is None]
            if not asked:
                break
            answers = await self._model.generate(
                [_request(one.task, attempt, writing) for one in asked], terms
            )
            parsed = [parse_demonstration(answer.text) for answer in answers]
            texts = [read.as_text() for read in parsed if isinstance(read, Demonstration)]
            count = await self._model.counter(terms, texts)
            for one, answer, read in zip(asked, answers, parsed, strict=True):
                one.usage += answer.usage
                if isinstance(read, Malformed):
                    cut = "cut off: " if answer.finish is Finish.LENGTH else ""
                    one.refusals.append(f"malformed: {cut}{read.reason}")
                elif refused := self._refused(read, one.task.prompt, count, writing):
                    one.refusals.append(f"{refused.fault}: {refused.detail}")
                else:
                    one.demonstration = read
        return tuple(Outcome(one.demonstration, tuple(one.refusals), one.usage) for one in opened)

    def _refused(
        self, read: Demonstration, prompt: GeneratorPrompt, count: Count, writing: Writing
    ) -> Refused | None:
        return check(
            read,
            prompt.known_titles,
            limit=writing.limit,
            count=count,
            neighbor_titles=prompt.neighbor_titles,
            is_item=self._is_item,
        )


def _request(task: Task, attempt: int, writing: Writing) -> GenerationRequest:
    prompt = task.prompt
    seed = (task.seed * 1_000_003 + attempt) % 2**31
    schema = prompt.schema_of_listed_titles(seed) if writing.named_from_list else prompt.schema
    temperature = writing.temperature if task.temperature is None else task.temperature
    sampling = Sampling(writing.max_tokens, temperature=temperature, seed=seed)
    return GenerationRequest(
        prompt.chat, sampling, JsonSchema(schema) if writing.constrained else None
    )
