"""Rankings by a language model: prompts composed, sent in one batch, and read by the mode's rule.

`first_token` reads the log-probs of all labels at one position, `likelihood` scores the titles as
answers, `generate` has the list written.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.llm.chat import Chat, Message
from services.llm.errors import ModelTimeout
from services.llm.labels import find_labels
from services.llm.port import (
    Count,
    GenerationRequest,
    Labels,
    LanguageModel,
    Regex,
    Sampling,
    Terms,
    Usage,
)
from services.prompts import (
    LABELS,
    Lead,
    Mode,
    Prompt,
    PromptFormat,
    PromptRequest,
    compose,
    content_free,
    in_candidate_order,
)
from services.prompts.leads import CUE
from services.prompts.titles import clean_lines
from services.ranking.ranking import Method, Ranking, RankingRequest
from services.ranking.written import list_pattern, read_list

REASONING_TOKENS = 64
LABELS_SECONDS = 60.0
_KEPT_PRIORS = 256

# Candidates shown, and whether a history is: all that a prompt without content has.
_Outline = tuple[int, bool]


@dataclass(frozen=True)
class Ranked:
    """`asked` is how many prompts it took."""

    rankings: tuple[Ranking, ...]
    usage: Usage
    asked: int


@dataclass(frozen=True)
class _Batch:
    """What is asked in one go. `form` is the method's, with the labels of the engine at hand."""

    method: Method
    form: PromptFormat
    engine: str
    count: Count
    terms: Terms


@dataclass(frozen=True)
class _Asked:
    """A request, and a prompt for each order in which its candidates are shown."""

    request: RankingRequest
    prompts: tuple[Prompt, ...]

    @property
    def outline(self) -> _Outline:
        return len(self.request.candidates), bool(self.request.history)


class Ranker:
    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self._labels: dict[tuple[str, bool], Labels] = {}
        self._finding: dict[tuple[str, bool], asyncio.Task[Labels]] = {}
        self._priors: dict[tuple[str, PromptFormat, _Outline], tuple[float, ...]] = {}

    async def rank(self, request: RankingRequest, method: Method, terms: Terms) -> Ranking:
        return (await self.rank_all([request], method, terms)).rankings[0]

    async def rank_all(
        self, requests: Sequence[RankingRequest], method: Method, terms: Terms
    ) -> Ranked:
        """All in as few calls as the engine allows. Raises ModelError, and PromptTooLong."""
        if not requests:
            return Ranked((), Usage(), 0)
        if method.step_size == 1:
            return await self._as_asked(requests, method, terms)
        asked = [*requests, *_asked_bare(requests)]
        ranked = await self._as_asked(asked, method, terms)
        said = dict(zip(asked, ranked.rankings, strict=True))
        rankings = (
            _on_the_way(said[request.bare()], said[request])
            if request.demonstrated
            else said[request]
            for request in requests
        )
        return replace(ranked, rankings=tuple(rankings))

    async def _as_asked(
        self, requests: Sequence[RankingRequest], method: Method, terms: Terms
    ) -> Ranked:
        """Each with its demonstration as though there were no other way to ask."""
        batch = await self._batch(requests, method, terms)
        asked, thinking = await self._asked(requests, batch)
        match method.mode:
            case Mode.FIRST_TOKEN:
                labels = await self._labels_behind(batch.form.lead, batch.engine, terms)
                ranked = await self._by_first_token(asked, labels, batch)
            case Mode.LIKELIHOOD:
                ranked = await self._by_title(asked, batch)
            case Mode.GENERATE:
                ranked = await self._by_list(asked, batch)
        thought = len(requests) if batch.form.lead is Lead.REASONING else 0
        return Ranked(ranked.rankings, ranked.usage + thinking, ranked.asked + thought)

    async def prompt(self, request: RankingRequest, method: Method, terms: Terms) -> Prompt:
        """What the model would be asked, in the first order shown; it is not asked. Raises as
        `rank_all` does."""
        batch = await self._batch([request], method, terms)
        ((asked, *_), _) = await self._asked([request], batch)
        return asked.prompts[0]

    async def _batch(
        self, requests: Sequence[RankingRequest], method: Method, terms: Terms
    ) -> _Batch:
        engine = (await self.model.describe(terms)).fingerprint.digest
        count = await self.model.counter(terms, _demonstrated(requests))
        form = method.form
        if method.mode is not Mode.LIKELIHOOD:
            labels = await self._labels_behind(form.lead, engine, terms)
            form = replace(form, labels=tuple(text.strip() for text in labels.texts))
        return _Batch(method, form, engine, count, terms)

    async def _asked(
        self, requests: Sequence[RankingRequest], batch: _Batch
    ) -> tuple[list[_Asked], Usage]:
        """And what thinking before the answer has cost."""
        method, form, count = batch.method, batch.form, batch.count
        reasons, thinking = await self._reasons(requests, batch)
        asked = [
            _Asked(
                request,
                tuple(
                    compose(form, replace(request.prompt_request(order), reasoning=reason), count)
                    for order in method.orders(len(request.candidates))
                ),
            )
            for request, reason in zip(requests, reasons, strict=True)
        ]
        return asked, thinking

    async def _by_first_token(
        self, asked: Sequence[_Asked], labels: Labels, batch: _Batch
    ) -> Ranked:
        unknown = self._unknown_priors(asked, batch) if batch.method.calibrated else []
        # With the rest of the batch: a prior costs no round trip of its own.
        empty = [compose(batch.form, _without_content(one), batch.count) for one in unknown]
        prompts = [prompt for one in asked for prompt in one.prompts]
        scored = await self.model.score_labels(
            [prompt.chat() for prompt in (*prompts, *empty)],
            labels.first(max(len(one.request.candidates) for one in asked)),
            batch.terms,
        )
        rows = iter(scored.rows)
        said = [
            [next(rows).logprobs[: len(prompt.labels)] for prompt in one.prompts] for one in asked
        ]
        for outline, row in zip(unknown, rows, strict=True):
            self._keep_prior(outline, among(row.logprobs[: outline[0]]), batch)
        rankings = [
            _of_labels(one, shown, self._prior(one, batch), batch.method)
            for one, shown in zip(asked, said, strict=True)
        ]
        return Ranked(tuple(rankings), scored.usage, len(prompts) + len(empty))

    async def _by_title(self, asked: Sequence[_Asked], batch: _Batch) -> Ranked:
        rankings, usage = [], Usage()
        for one in asked:
            (prompt,) = one.prompts
            titles = [prompt.continued(title) for title in prompt.titles]
            scored = await self.model.score_titles(prompt.chat(), titles, batch.terms)
            said = tuple(score.logprob for score in scored.scores)
            rankings.append(
                Ranking(batch.method, _ids(one), among(said), prompts=one.prompts, raw=(said,))
            )
            usage += scored.usage
        return Ranked(tuple(rankings), usage, len(asked))

    async def _by_list(self, asked: Sequence[_Asked], batch: _Batch) -> Ranked:
        method = batch.method
        wanted = [_written_by(prompt, method) for one in asked for prompt in one.prompts]
        answers = await self.model.generate(wanted, batch.terms)
        texts = iter(answers)
        rankings = []
        for one in asked:
            lists = [read_list(next(texts).text, prompt, method.listed) for prompt in one.prompts]
            raw = tuple(_places(written.listed, len(one.request.candidates)) for written in lists)
            rankings.append(
                Ranking(
                    method, _ids(one), _mean(raw), prompts=one.prompts, raw=raw, written=lists[0]
                )
            )
        usage = sum((answer.usage for answer in answers), Usage())
        return Ranked(tuple(rankings), usage, len(wanted))

    async def _reasons(
        self, requests: Sequence[RankingRequest], batch: _Batch
    ) -> tuple[list[str | None], Usage]:
        """With a reasoning lead: what the model has to say first, to the end of its line."""
        if batch.form.lead is not Lead.REASONING:
            return [None] * len(requests), Usage()
        sampling = Sampling(REASONING_TOKENS, stop=("\n",))
        prompts = [compose(batch.form, one.prompt_request(), batch.count) for one in requests]
        said = await self.model.generate(
            [GenerationRequest(prompt.chat(), sampling) for prompt in prompts], batch.terms
        )
        return [one.text for one in said], sum((one.usage for one in said), Usage())

    async def prepare(self, method: Method, terms: Terms) -> None:
        """What the first ranking would wait for."""
        engine = (await self.model.describe(terms)).fingerprint.digest
        await self.model.counter(terms)
        if method.mode is not Mode.LIKELIHOOD:
            await self._labels_behind(method.form.lead, engine, terms)

    async def _labels_behind(self, lead: Lead, engine: str, terms: Terms) -> Labels:
        """Asked of the tokenizer once for an engine, behind a cue and at an answer's beginning.

        That takes longer than a ranking: whoever cannot wait leaves it to those who come later.
        """
        cue = "" if lead is Lead.NONE else CUE
        key = (engine, bool(cue))
        if (known := self._labels.get(key)) is not None:
            return known
        finding = self._finding.get(key)
        if finding is None:
            finding = asyncio.create_task(self._find_labels(key, cue), name="labels")
            self._finding[key] = finding
            finding.add_done_callback(lambda done: self._found(key, done))
        try:
            async with asyncio.timeout(terms.deadline.remaining()):
                return await asyncio.shield(finding)
        except TimeoutError:
            raise ModelTimeout("the deadline passed while the labels were looked up") from None

    async def _find_labels(self, key: tuple[str, bool], cue: str) -> Labels:
        texts = [f" {label}" if cue else label for label in LABELS]
        chat = Chat((Message("user", "Rank."),), cue)
        found = await find_labels(self.model, chat, texts, Terms.within(LABELS_SECONDS))
        self._labels[key] = found
        return found

    def _found(self, key: tuple[str, bool], done: asyncio.Task[Labels]) -> None:
        """Whoever waits gets the error; where nobody waits, the next call tries again."""
        del self._finding[key]
        if not done.cancelled():
            done.exception()

    def _unknown_priors(self, asked: Sequence[_Asked], batch: _Batch) -> list[_Outline]:
        outlines = dict.fromkeys(one.outline for one in asked)
        return [one for one in outlines if (batch.engine, batch.form, one) not in self._priors]

    def _keep_prior(self, outline: _Outline, prior: tuple[float, ...], batch: _Batch) -> None:
        if len(self._priors) >= _KEPT_PRIORS:
            self._priors.pop(next(iter(self._priors)))
        self._priors[batch.engine, batch.form, outline] = prior

    def _prior(self, one: _Asked, batch: _Batch) -> tuple[float, ...] | None:
        if not batch.method.calibrated:
            return None
        return self._priors[batch.engine, batch.form, one.outline]


def among(logprobs: Sequence[float]) -> tuple[float, ...]:
    """As if nothing but these could have been said."""
    most = max(logprobs)
    total = most + math.log(math.fsum(math.exp(value - most) for value in logprobs))
    return tuple(value - total for value in logprobs)


def _asked_bare(requests: Sequence[RankingRequest]) -> list[RankingRequest]:
    """Those with a demonstration, without it: each once, and none that is asked anyhow."""
    bare = dict.fromkeys(one.bare() for one in requests if one.demonstrated is not None)
    anyhow = set(requests)
    return [one for one in bare if one not in anyhow]


def _on_the_way(bare: Ranking, whole: Ranking) -> Ranking:
    """From what is said without a demonstration as far as the step size goes to what is said with
    it: on log-probabilities, where a step of the dual model is a sum; on places, where a list was
    written."""
    step_size = whole.method.step_size
    scores = tuple(
        start + step_size * (end - start)
        for start, end in zip(bare.scores, whole.scores, strict=True)
    )
    return replace(
        whole,
        scores=scores if whole.method.mode is Mode.GENERATE else among(scores),
        prompts=(*whole.prompts, *bare.prompts),
        raw=(*whole.raw, *bare.raw),
    )


def _of_labels(
    asked: _Asked,
    rows: Sequence[tuple[float, ...]],
    prior: tuple[float, ...] | None,
    method: Method,
) -> Ranking:
    by_candidate, raw = [], []
    for prompt, row in zip(asked.prompts, rows, strict=True):
        shown = row if prior is None else [said - p for said, p in zip(row, prior, strict=True)]
        by_candidate.append(in_candidate_order(prompt.order, among(shown)))
        raw.append(tuple(in_candidate_order(prompt.order, row)))
    scores = among(_mean(by_candidate))
    return Ranking(method, _ids(asked), scores, asked.prompts, tuple(raw), prior)


def _written_by(prompt: Prompt, method: Method) -> GenerationRequest:
    listed = min(method.listed, len(prompt.labels))
    # Two tokens for a label, at most, and the end.
    sampling = Sampling(max_tokens=2 * listed + 2)
    pattern = list_pattern(prompt.labels, listed, behind_lead=bool(prompt.lead))
    return GenerationRequest(prompt.chat(), sampling, Regex(pattern))


def _places(listed: Sequence[int], candidates: int) -> tuple[float, ...]:
    """Minus the place in the list; what is not in it comes last, all alike."""
    places = [-float(candidates)] * candidates
    for place, candidate in enumerate(listed, start=1):
        places[candidate] = -float(place)
    return tuple(places)


def _mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(math.fsum(column) / len(rows) for column in zip(*rows, strict=True))


def _demonstrated(requests: Sequence[RankingRequest]) -> list[str]:
    """The texts whose length decides whether they are shown."""
    shown = [one.demonstrated for one in requests if one.demonstrated is not None]
    texts = [text for one in shown for text in (one.current, one.perturbation) if text is not None]
    return [clean_lines(text) for text in texts]


def _ids(asked: _Asked) -> tuple[str, ...]:
    return tuple(candidate.item_id for candidate in asked.request.candidates)


def _without_content(outline: _Outline) -> PromptRequest:
    candidates, has_history = outline
    return content_free(PromptRequest(("",) if has_history else (), ("",) * candidates))
