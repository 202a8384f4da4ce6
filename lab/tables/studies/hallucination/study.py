"""Lists that are written freely: what they name that was not in the list, with which demonstration,
under which condition.

Where an engine keeps to a structure, a list cannot name anything else: the embedded model masks the
tokens that would, and a vLLM server does so by its structured output. Both leave it out where none
is asked for, which the product never does; here it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.engines import EngineChoice, make_model
from lab.evaluation.evaluation import Watch
from lab.tables.studies.forecast import of_rounds, pace, terms
from lab.tables.studies.hallucination.substring import named_by_substring
from lab.tables.studies.people import TEST_DRAWS, People, digest_of, people_of_shop
from lab.tables.studies.rows import Rows
from lab.tables.studies.texts import SetName, Sets, sets_by_user
from services.llm.port import Generated, GenerationRequest, LanguageModel, Regex, Sampling
from services.optimizer.material import Question
from services.optimizer.plan import Plan
from services.prompts import DEFAULT_REGULARIZATION, Demonstrated, Mode, Prompt, PromptFormat
from services.ranking import Method, Ranker, RankingRequest, in_order
from services.ranking.effect import effect_d
from services.ranking.written import list_pattern, read_list

TOKENS_OF_ENTRY = 12  # a title, and what stands around it
FEW = 10
NONE, SERVED = "none", "served"


@dataclass(frozen=True)
class Condition:
    """`shown`: the candidates stand in the prompt. Where they do not, one title is asked for, and
    nothing but the user's taste says which. `candidates` None: all."""

    name: str
    regularized: bool = True
    constrained: bool = False
    temperature: float = 0.0
    candidates: int | None = None
    shown: bool = True

    @property
    def listed(self) -> int:
        return Method().listed if self.shown else 1

    @property
    def method(self) -> Method:
        text = DEFAULT_REGULARIZATION if self.regularized else None
        mode = Mode.GENERATE if self.shown else Mode.LIKELIHOOD
        return Method(PromptFormat(mode=mode, regularization=text))


CONDITIONS = (
    Condition("structured", constrained=True),
    Condition("free"),
    Condition("unregularized", regularized=False),
    Condition("warm", temperature=1.0),
    Condition("warm_unregularized", regularized=False, temperature=1.0),
    Condition("few_candidates", candidates=FEW),
    Condition("unlisted", shown=False),
)


@dataclass(frozen=True)
class Hallucination:
    work: Path
    users: int = 12
    first: int = 0
    rounds: int = 2
    texts: int = 2
    engine: EngineChoice = field(default=EngineChoice())

    @property
    def plan(self) -> Plan:
        return Plan()

    def people(self, model: LanguageModel) -> AbstractAsyncContextManager[People]:
        at_once = self.engine.calls_at_once
        return people_of_shop(
            self.work, model, self.plan, users=self.users, first=self.first, at_once=at_once
        )


async def collect(study: Hallucination, watch: Watch) -> list[dict[str, Any]]:
    """A row for each list that was written."""
    async with (
        aclosing(make_model(study.engine)) as model,
        study.people(model) as people,
    ):
        size = f"{study.users}-from-{study.first}"
        name = f"{size}-{await digest_of(model, people.plan, study.rounds, study.texts)}"
        kept = Rows(study.work / f"hallucination-{name}.jsonl")
        known = {row["user"] for row in kept.known}
        if known >= people.tests.keys():
            return _lists(kept)
        await _forecast(study, people, watch)
        written = Rows(study.work / f"hallucination-texts-{name}.jsonl")
        sets = await sets_by_user(people, written, study.texts, study.rounds, watch.tell)
        asker = _Asker(Ranker(model), people)
        for done, user in enumerate(people.tests, start=1):
            if user not in known:
                kept.add({"user": user, "lists": await asker.lists(user, sets[user])})
            watch.tell("lists", done, len(people.tests))
        return _lists(kept)


def _lists(kept: Rows) -> list[dict[str, Any]]:
    return [{"user": row["user"], **one} for row in kept.known for one in row["lists"]]


async def _forecast(study: Hallucination, people: People, watch: Watch) -> None:
    user, questions = next(iter(people.tests.items()))
    known = await pace(
        people.model, people.plan, questions[0], (await people.person(user)).snapshot
    )
    rankings, texts = of_rounds(people.plan, study.rounds)
    lists = (3 + study.texts) * TEST_DRAWS * len(CONDITIONS)
    watch.say(
        known.told(study.users * rankings, study.users * (texts + study.texts + lists))
        + " at most: lists are shorter than texts"
    )


class _Asker:
    def __init__(self, ranker: Ranker, people: People) -> None:
        self._ranker = ranker
        self._people = people

    async def lists(self, user: str, sets: Sets) -> list[dict[str, Any]]:
        shown: list[tuple[str, Demonstrated | None]] = [(NONE, None)]
        shown += [(SetName.GENERATED.value, text) for text in sets[SetName.GENERATED]]
        served = await self._people.world.served_text(user)
        if served is not None:
            shown.append((SERVED, served))
        shown += [(SetName.OTHERS.value, text) for text in sets[SetName.OTHERS][:1]]
        asked = [
            (question, {"set": name, "text": number, "draw": question.draw}, question.under(text))
            for number, (name, text) in enumerate(shown)
            for question in self._people.tests[user]
        ]
        scored = await self._ranker.rank_all(
            [request for *_, request in asked], self._people.plan.method, terms()
        )
        rows, prompts, requests = [], [], []
        for (question, row, request), ranking in zip(asked, scored.rankings, strict=True):
            by_score = {"scored_effect_d": effect_d(ranking.rank_of(question.truth))}
            for condition in CONDITIONS:
                prompt = await self._prompt(condition, question, request)
                rows.append({**row, **by_score, "condition": condition.name})
                prompts.append(prompt)
                requests.append(_request(condition, prompt, question.draw))
        answers = await self._people.model.generate(requests, terms())
        return [
            {**row, **_read(answer, prompt)}
            for row, answer, prompt in zip(rows, answers, prompts, strict=True)
        ]

    async def _prompt(
        self, condition: Condition, question: Question, request: RankingRequest
    ) -> _Prompted:
        asked = _fewer(request, question.truth, condition.candidates)
        prompt = await self._ranker.prompt(asked, condition.method, terms())
        ids = tuple(one.item_id for one in asked.candidates)
        return _Prompted(prompt, ids, question.truth, min(condition.listed, len(ids)))


@dataclass(frozen=True)
class _Prompted:
    prompt: Prompt
    item_ids: tuple[str, ...]
    truth: str
    listed: int

    def effect_d(self, listed: Sequence[int]) -> float:
        """What is not listed comes last, ties as everywhere."""
        scores = [-float(len(self.item_ids) + 1)] * len(self.item_ids)
        for place, candidate in enumerate(listed, start=1):
            scores[candidate] = -float(place)
        order = in_order(self.item_ids, scores)
        return effect_d(1 + order.index(self.item_ids.index(self.truth)))


def _fewer(request: RankingRequest, truth: str, most: int | None) -> RankingRequest:
    """The truth, and the first others, as they stand."""
    if most is None:
        return request
    others = [one.item_id for one in request.candidates if one.item_id != truth][: most - 1]
    kept = {truth, *others}
    return replace(
        request, candidates=tuple(one for one in request.candidates if one.item_id in kept)
    )


def _request(condition: Condition, asked: _Prompted, seed: int) -> GenerationRequest:
    sampling = Sampling(
        TOKENS_OF_ENTRY * asked.listed, temperature=condition.temperature, seed=seed
    )
    structure, prompt = None, asked.prompt
    if condition.constrained:
        structure = Regex(list_pattern(prompt.labels, asked.listed, behind_lead=bool(prompt.lead)))
    return GenerationRequest(prompt.chat(), sampling, structure)


def _read(answer: Generated, asked: _Prompted) -> dict[str, Any]:
    """Strictly, and by the loose rule. Entries beyond those asked for are not read strictly."""
    prompt = asked.prompt
    if not prompt.labels:
        # No candidate was shown, so none has a label: and no entry is empty.
        prompt = replace(prompt, labels=("",) * len(prompt.order))
    strict = read_list(answer.text, prompt, asked.listed)
    loose = named_by_substring(answer.text, asked.prompt)
    return {
        "structured": answer.constrained,
        "reading": strict.reading.value,
        "asked": asked.listed,
        "named": len(strict.listed),
        "out_of_list": strict.out_of_list,
        "repeated": strict.repeated,
        "missing": strict.missing,
        "effect_d": asked.effect_d(strict.listed),
        "loosely_named": len(loose),
        "loose_effect_d": asked.effect_d(loose),
        "answer": answer.text,
    }


def rate_of(row: Mapping[str, Any]) -> float:
    """Of the entries that were read, those that are none of the candidates."""
    read = row["named"] + row["repeated"] + row["out_of_list"]
    return float(row["out_of_list"] / read) if read else 0.0
