"""From a request to a prompt that fits.

What does not fit is left out in this order: the oldest history, down to a few items; words of
titles; the rest of history; the perturbation; the demonstration. Candidates never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.errors import LrgdError
from services.llm.port import Count
from services.prompts.labels import labels_for
from services.prompts.requests import Demonstrated, Limits, Mode, PromptFormat, PromptRequest
from services.prompts.segments import Prompt, Segment, SegmentName, Shortened
from services.prompts.templates import render
from services.prompts.titles import capped, clean, clean_lines

LEAST_HISTORY = 3


class PromptTooLong(LrgdError):
    """Nothing is left to shorten. Fewer candidates, or a longer context, would do."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(
            f"the prompt needs {tokens} tokens with short titles and without history and "
            f"demonstration, {limit} are allowed: show fewer candidates"
        )
        self.tokens = tokens
        self.limit = limit


def compose(format: PromptFormat, request: PromptRequest, count: Count) -> Prompt:
    """The prompt of a request. The same arguments give the same bytes.

    `count` counts tokens of plain text; it is asked once or twice, more only for titles that are
    long and prompts that do not fit. Raises PromptTooLong.
    """
    for tokens in _title_caps(format.limits):
        draft = _drafted(format, request, count, tokens)
        prompt = _fitted(draft, count, at_least=LEAST_HISTORY)
        if prompt is not None:
            return prompt
    for attempt in draft.ever_shorter():
        prompt = _fitted(attempt, count, at_least=0)
        if prompt is not None:
            return prompt
    bare = attempt.prompt(len(attempt.history))
    raise PromptTooLong(_tokens(bare, format.limits, count), format.limits.prompt_tokens)


def _title_caps(limits: Limits) -> tuple[int, ...]:
    """Half a title still tells items apart; a ranking without history and demonstration is none."""
    whole = limits.title_tokens
    return (whole, max(1, whole // 2), max(1, whole // 4))


@dataclass(frozen=True, slots=True)
class _Draft:
    """A request with clean titles, before it is known how much of it fits."""

    format: PromptFormat
    lead: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]
    labels: tuple[str, ...]
    order: tuple[int, ...]
    demonstrated: Demonstrated | None
    shortened: Shortened

    def ever_shorter(self) -> list[_Draft]:
        """Itself; then without the perturbation; then without any demonstration."""
        drafts = [self]
        if self.demonstrated is not None:
            if self.demonstrated.perturbation is not None:
                drafts.append(self._without_perturbation(self.demonstrated))
            drafts.append(drafts[-1].without_demonstration())
        return drafts

    def _without_perturbation(self, demonstrated: Demonstrated) -> _Draft:
        return replace(
            self,
            demonstrated=Demonstrated(demonstrated.current),
            shortened=replace(self.shortened, perturbation_refused=True),
        )

    def without_demonstration(self) -> _Draft:
        return replace(
            self, demonstrated=None, shortened=replace(self.shortened, demonstration_refused=True)
        )

    def prompt(self, left_out: int) -> Prompt:
        """With the oldest `left_out` items of history left out."""
        mode, regularization = self.format.mode, self.format.regularization
        sentence = None
        if regularization is not None:
            by_title = mode is Mode.LIKELIHOOD
            sentence = regularization.by_title if by_title else regularization.by_label
        segments = render(
            self.format.template,
            {
                "mode": mode.value,
                "regularization": sentence,
                "history": self.history[left_out:],
                "candidates": tuple(zip(self.candidates, self.labels, strict=False)),
                "demonstration": self.demonstrated and self.demonstrated.current,
                "perturbation": self.demonstrated and self.demonstrated.perturbation,
            },
        )
        # Chat templates that trim a turn shall find nothing to trim.
        last = segments[-1]
        segments[-1] = replace(last, text=last.text.removesuffix("\n"))
        return Prompt(
            segments=(*segments, Segment(SegmentName.LEAD, self.lead)),
            labels=self.labels,
            titles=self.candidates,
            order=self.order,
            shortened=replace(self.shortened, history_left_out=left_out),
        )


def _drafted(
    format: PromptFormat, request: PromptRequest, count: Count, title_tokens: int
) -> _Draft:
    limits = format.limits
    order = _checked_order(request)
    whole = [clean(title) for title in _window(request.history, limits)]
    shown = [clean(request.candidates[candidate]) for candidate in order]
    titles = [capped(title, title_tokens, count) for title in (*whole, *shown)]
    by_label = format.mode is not Mode.LIKELIHOOD
    draft = _Draft(
        format=format,
        lead=format.lead.text(request.reasoning),
        history=tuple(_without_surplus(titles[: len(whole)], limits, count)),
        candidates=tuple(titles[len(whole) :]),
        labels=labels_for(len(shown), format.labels) if by_label else (),
        order=order,
        demonstrated=None,
        shortened=Shortened(
            titles_cut=sum(
                cut != title for cut, title in zip(titles, (*whole, *shown), strict=True)
            )
        ),
    )
    return _with_demonstration(draft, request.demonstrated, count)


def _checked_order(request: PromptRequest) -> tuple[int, ...]:
    everyone = range(len(request.candidates))
    order = tuple(everyone) if request.order is None else request.order
    if sorted(order) != list(everyone):
        raise ValueError("`order` must name every candidate once")
    return order


def _window(history: Sequence[str | None], limits: Limits) -> Sequence[str | None]:
    if limits.extra_history_tokens:
        # No title is shorter than a token.
        return history[-(limits.history_items + limits.extra_history_tokens) :]
    return history[-limits.history_items :] if limits.history_items else ()


def _without_surplus(history: list[str], limits: Limits, count: Count) -> list[str]:
    """The newest `history_items`, and older ones while their tokens last."""
    begin = max(0, len(history) - limits.history_items)
    left = limits.extra_history_tokens
    while begin and (left := left - count(f"- {history[begin - 1]}\n")) >= 0:
        begin -= 1
    return history[begin:]


def _with_demonstration(draft: _Draft, texts: Demonstrated | None, count: Count) -> _Draft:
    """Each text must fit its own limit; a perturbation without a current one means nothing."""
    if texts is None:
        return draft

    def fits(text: str) -> bool:
        limit = draft.format.limits.demonstration_tokens
        return bool(text) and (len(text.encode()) < limit or count(text) <= limit)

    current = clean_lines(texts.current)
    if not fits(current):
        return draft.without_demonstration()
    perturbation = None if texts.perturbation is None else clean_lines(texts.perturbation)
    draft = replace(draft, demonstrated=Demonstrated(current, perturbation))
    if perturbation is None or fits(perturbation):
        return draft
    return draft.ever_shorter()[1]


def _fitted(draft: _Draft, count: Count, at_least: int) -> Prompt | None:
    """With as much history as fits, the oldest left out first; None if `at_least` is too much."""
    limits = draft.format.limits
    most_left_out = max(0, len(draft.history) - at_least)
    left_out = 0
    while True:
        prompt = draft.prompt(left_out)
        surplus = _tokens(prompt, limits, count) - limits.prompt_tokens
        if surplus <= 0:
            return prompt
        if left_out == most_left_out:
            return None
        # Lines are counted apart, which may differ by a token or two from the whole.
        while surplus > 0 and left_out < most_left_out:
            surplus -= count(f"- {draft.history[left_out]}\n")
            left_out += 1


def _tokens(prompt: Prompt, limits: Limits, count: Count) -> int:
    text = prompt.content + prompt.lead
    size = len(text.encode())
    if size + limits.chat_tokens < limits.prompt_tokens:
        return size + limits.chat_tokens  # at most; which is all that matters when it fits
    return count(text) + limits.chat_tokens
