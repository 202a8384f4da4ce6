"""What each past item, and each sentence of the demonstration, did for the item that came first:
exactly, by ranking again without it.

It is what the served model says and no estimate, so it costs a prompt for each of them: all are
asked in one go, at most MOST_PROMPTS, within the deadline. What is left out is left out of what was
shown: no older item takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from services.llm.errors import ModelError
from services.llm.port import Terms
from services.prompts import Demonstrated, Mode, SegmentName
from services.ranking import Method, Ranker, Ranking, RankingRequest

T = TypeVar("T")

MOST_PROMPTS = 32


class LeftOutKind(StrEnum):
    ITEM = "item"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """`effect` is how much more log-probability the first item has with it than without it, among
    the candidates: above zero, it spoke for the item."""

    kind: LeftOutKind
    text: str
    effect: float


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """`not_asked` counts what there was no prompt left for. `reason` says why nothing was asked."""

    item_id: str | None = None
    effects: tuple[LeftOut, ...] = ()
    not_asked: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Without:
    kind: LeftOutKind
    text: str
    request: RankingRequest


async def leave_one_out(
    ranker: Ranker, ranking: Ranking, request: RankingRequest, item_id: str, terms: Terms
) -> LeaveOneOut:
    """About an item of a ranking that was made of this request."""
    method = ranking.method
    if method.mode is Mode.GENERATE:
        # A written list has places and no probabilities.
        return LeaveOneOut(item_id, reason="no_log_probabilities")
    shown = _as_shown(request, ranking)
    every = [*_without_sentences(shown), *_without_items(shown)]
    asked = _affordable(every, method)
    try:
        ranked = await ranker.rank_all([one.request for one in asked], method, terms)
    except ModelError as error:
        return LeaveOneOut(item_id, not_asked=len(every), reason=error.outcome)
    place = ranking.item_ids.index(item_id)
    effects = tuple(
        LeftOut(one.kind, one.text, ranking.scores[place] - without.scores[place])
        for one, without in zip(asked, ranked.rankings, strict=True)
    )
    return LeaveOneOut(item_id, effects, not_asked=len(every) - len(asked))


def _affordable(every: Sequence[_Without], method: Method) -> list[_Without]:
    """The first of them. Below a whole step each takes the prompt without a demonstration as well,
    which those without a sentence have in common."""
    asked: list[_Without] = []
    bare: set[RankingRequest] = set()
    for one in every:
        if method.step_size < 1 and one.request.demonstrated is not None:
            bare.add(one.request.bare())
        orders = len(method.orders(len(one.request.candidates)))
        if orders * (len(asked) + 1 + len(bare)) > MOST_PROMPTS:
            break
        asked.append(one)
    return asked


def _as_shown(request: RankingRequest, ranking: Ranking) -> RankingRequest:
    """With the history and the demonstration that the prompt had room for."""
    prompt = ranking.prompts[0]
    texts = {segment.name: segment.text for segment in prompt.segments}
    lines = texts.get(SegmentName.HISTORY, "").splitlines()
    items = sum(line.startswith("- ") for line in lines)
    demonstrated = request.demonstrated
    if SegmentName.DEMONSTRATION not in texts:
        demonstrated = None
    elif demonstrated is not None and SegmentName.PERTURBATION not in texts:
        demonstrated = Demonstrated(demonstrated.current)
    history = request.history[len(request.history) - items :]
    return replace(request, history=history, demonstrated=demonstrated)


def _without_sentences(request: RankingRequest) -> list[_Without]:
    """A demonstration's sentences are its lines: preference, evidence, suggestion, example."""
    texts = request.demonstrated
    if texts is None:
        return []
    found = [
        _Without(LeftOutKind.SENTENCE, line, replace(request, demonstrated=_current(texts, rest)))
        for line, rest in _each_left_out(texts.current.splitlines())
    ]
    if texts.perturbation is not None:
        found += [
            _Without(
                LeftOutKind.SENTENCE, line,
                replace(request, demonstrated=replace(texts, perturbation="\n".join(rest) or None)),
            )
            for line, rest in _each_left_out(texts.perturbation.splitlines())
        ]  # fmt: skip
    return found


def _current(texts: Demonstrated, lines: Sequence[str]) -> Demonstrated | None:
    """A perturbation without a current demonstration means nothing."""
    return replace(texts, current="\n".join(lines)) if lines else None


def _without_items(request: RankingRequest) -> list[_Without]:
    """Newest first: where not all can be asked about, these are."""
    found = [
        _Without(LeftOutKind.ITEM, title or "", replace(request, history=tuple(rest)))
        for title, rest in _each_left_out(request.history)
    ]
    return found[::-1]


def _each_left_out(values: Sequence[T]) -> list[tuple[T, list[T]]]:
    return [(one, [*values[:n], *values[n + 1 :]]) for n, one in enumerate(values)]
