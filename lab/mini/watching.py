"""How good the model is so far, on users that it is not taught on. Small, to be looked at often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lab.metrics import ndcg
from lab.mini.corpus import Corpus, laid_out, past_item
from lab.mini.describing import describe
from lab.mini.model import Mini
from lab.mini.moments import Moment, candidates_of, watched_moments
from lab.mini.tokenizer import END
from services.demonstrations.demonstration import Malformed, parse_demonstration
from services.demonstrations.generation import View, generator_prompt
from services.demonstrations.guards import check
from services.demonstrations.snapshot import Snapshot
from services.prompts import Demonstrated, Mode, PromptFormat, PromptRequest, compose
from services.prompts.titles import fold

CUTOFF = 10
SIZES = (8, 20, 50)
_ROWS = 16


@dataclass(frozen=True)
class Watch:
    """The same users, candidates and summaries every time."""

    corpus: Corpus
    users: int = 64

    @cached_property
    def moments(self) -> list[Moment]:
        return watched_moments(self.corpus.shop, self.users)

    def figures(
        self,
        model: Mini,
        sizes: Sequence[int] = SIZES,
        *,
        forward: Callable[[Tensor], Tensor] | None = None,
        writing: int = 24,
    ) -> dict[str, float]:
        """nDCG@10 by `labels` and `likelihood`, without and with a truthful summary.

        `forward` may be the compiled model.
        """
        figures: dict[str, float] = {}
        with torch.no_grad():
            for summary, name in ((False, "zero_shot"), (True, "summary")):
                for size in sizes:
                    figures[f"labels@{size}.{name}"] = self._by_labels(
                        model, model if forward is None else forward, size, summary
                    )
                figures[f"likelihood@20.{name}"] = self._by_titles(model, 20, summary)
            if writing:
                figures |= self._writing(model, writing)
        return {name: round(value, 4) for name, value in figures.items()}

    def _request(self, user: int, size: int, summary: bool) -> tuple[PromptRequest, int]:
        """With the place of the chosen item."""
        moment = self.moments[user]
        catalog = self.corpus.shop.catalog
        shown = candidates_of(moment, size, np.random.default_rng((user, size)))
        older = moment.past[: -PromptFormat().limits.history_items]
        text = None
        if summary and len(older) > 1:
            described = describe(catalog, older, np.random.default_rng((user, 1)))
            text = Demonstrated(described.as_text())
        history = tuple(catalog.items[int(item)].title for item in moment.past)
        candidates = tuple(catalog.items[int(item)].title for item in shown)
        request = PromptRequest(history, candidates, demonstrated=text)
        return request, int(np.flatnonzero(shown == moment.chosen)[0])

    def _by_labels(
        self, model: Mini, forward: Callable[[Tensor], Tensor], size: int, summary: bool
    ) -> float:
        tokenizer = self.corpus.tokenizer
        asked = []
        for user in range(len(self.moments)):
            request, truth = self._request(user, size, summary)
            prompt = compose(PromptFormat(), request, tokenizer.count)
            labels = [tokenizer.labels[label] for label in prompt.labels]
            asked.append((laid_out(tokenizer, prompt)[0], labels, truth))
        asked.sort(key=lambda one: len(one[0]))
        gains = []
        for begin in range(0, len(asked), _ROWS):
            rows = asked[begin : begin + _ROWS]
            ids = _padded([ids for ids, _, _ in rows], tokenizer.id(END), model)
            last = torch.tensor([len(ids) - 1 for ids, _, _ in rows], device=ids.device)
            states = forward(ids)[torch.arange(len(rows), device=ids.device), last]
            logits = model.logits(states).float().cpu()
            for row, (_, labels, truth) in zip(logits, rows, strict=True):
                gains.append(_gain(row[labels].tolist(), truth))
        return float(np.mean(gains))

    def _by_titles(self, model: Mini, size: int, summary: bool) -> float:
        tokenizer = self.corpus.tokenizer
        form = PromptFormat(mode=Mode.LIKELIHOOD)
        gains = []
        for user in range(len(self.moments) // 2):
            request, truth = self._request(user, size, summary)
            prompt = compose(form, request, tokenizer.count)
            prefix = laid_out(tokenizer, prompt)[0]
            answers = [
                [*tokenizer.encode(prompt.continued(title)), tokenizer.id(END)]
                for title in prompt.titles
            ]
            gains.append(_gain(likelihoods(model, prefix, answers).tolist(), truth))
        return float(np.mean(gains))

    def _writing(self, model: Mini, users: int) -> dict[str, float]:
        tokenizer, shop = self.corpus.tokenizer, self.corpus.shop
        titles = {fold(item.title) for item in shop.catalog.items}
        prompts = []
        for moment in self.moments[:users]:
            history = tuple(past_item(shop.catalog, int(item)) for item in moment.past)
            prompts.append(generator_prompt(Snapshot(history), View(), tokenizer.count))
        written = sampled(
            model,
            [tokenizer.chat(prompt.chat) for prompt in prompts],
            end=tokenizer.id(END),
            temperature=0.8,
        )
        parsed = [parse_demonstration(tokenizer.decode(ids)) for ids in written]
        accepted = [
            not isinstance(one, Malformed)
            and check(
                one, prompt.known_titles, limit=160, count=tokenizer.count,
                is_item=titles.__contains__,
            ) is None
            for one, prompt in zip(parsed, prompts, strict=True)
        ]  # fmt: skip
        return {
            "written.parsed": float(np.mean([not isinstance(one, Malformed) for one in parsed])),
            "written.accepted": float(np.mean(accepted)),
        }


def likelihoods(model: Mini, prefix: list[int], answers: list[list[int]]) -> Tensor:
    """Log-probability of each answer behind the prefix: all in one pass, none seeing another."""
    device = model.embed_tokens.device
    # The answers' last tokens need not be read, only said.
    packed = [token for answer in answers for token in answer[:-1]]
    lengths = torch.tensor([len(answer) - 1 for answer in answers])
    owner = torch.repeat_interleave(torch.arange(len(answers)), lengths)
    begins = torch.cumsum(lengths, 0) - lengths
    within = torch.arange(len(packed)) - begins[owner]
    size = len(prefix) + len(packed)
    allowed = torch.ones(size, size).tril().bool()
    allowed[len(prefix) :, len(prefix) :] &= owner[:, None] == owner[None, :]
    mask = torch.where(allowed, 0.0, -1e9).to(device)
    positions = torch.cat((torch.arange(len(prefix)), len(prefix) + within)).to(device)
    ids = torch.tensor([[*prefix, *packed]], device=device)
    states, _ = model.packed(ids, positions[None], mask)
    spoken = torch.log_softmax(model.logits(states[0, len(prefix) - 1 :]).float(), -1).cpu()
    totals = []
    for answer, begin in zip(answers, begins.tolist(), strict=True):
        rows = [0, *range(begin + 1, begin + len(answer))]
        totals.append(spoken[rows, answer].sum())
    return torch.stack(totals)


def sampled(
    model: Mini,
    prompts: list[list[int]],
    *,
    end: int,
    temperature: float,
    seed: int = 0,
    most: int = 300,
) -> list[list[int]]:
    """Answers, all prompts together, each row padded in front."""
    device = model.embed_tokens.device
    draws = torch.Generator().manual_seed(seed)
    longest = max(map(len, prompts))
    ids = torch.tensor([[end] * (longest - len(one)) + one for one in prompts], device=device)
    padding = torch.tensor([longest - len(one) for one in prompts], device=device)
    places = torch.arange(longest, device=device)
    hidden = (places[None, :] < padding[:, None])[:, None, None, :]
    mask = torch.where(hidden, -1e9, 0.0) + model.causal[:longest, :longest]
    positions = (places[None, :] - padding[:, None]).clamp(min=0)
    states, past = model.packed(ids, positions, mask)
    column = torch.where(hidden, -1e9, 0.0)
    answers: list[list[int]] = [[] for _ in prompts]
    open_rows = set(range(len(prompts)))
    for step in range(most):
        odds = torch.softmax(model.logits(states[:, -1]).float().cpu() / temperature, -1)
        drawn = torch.multinomial(odds, 1, generator=draws)
        for row in tuple(open_rows):
            token = int(drawn[row])
            if token == end:
                open_rows.remove(row)
            else:
                answers[row].append(token)
        if not open_rows:
            break
        column = torch.cat((column, torch.zeros_like(column[..., :1])), -1)
        next_positions = (longest + step - padding)[:, None]
        states, new = model.packed(drawn.to(device), next_positions, column, past)
        past = new
    return answers


def _gain(scores: list[float], truth: int) -> float:
    """nDCG of one true item; ties count against it."""
    return ndcg(sum(score >= scores[truth] for score in scores), CUTOFF)


def _padded(rows: list[list[int]], pad: int, model: Mini) -> Tensor:
    longest = -(-max(map(len, rows)) // 16) * 16
    return torch.tensor(
        [row + [pad] * (longest - len(row)) for row in rows], device=model.embed_tokens.device
    )
