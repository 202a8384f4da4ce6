"""One trainer for all networks: the next item at every place of every training sequence.

Training stops early, by nDCG@10 on the validation files; the best epoch is kept. After every epoch
a checkpoint is written, and an interrupted training goes on there.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.evaluation.judging import judged
from lab.evaluation.questions import Question, Split
from lab.metrics import ndcg
from lab.tables.baselines.networks import NETWORKS, Network, Sizes
from lab.tables.baselines.numbering import Numbering, Numbers, padded
from lab.tables.baselines.settings import Loss, Settings, Trained
from lab.tables.baselines.trained import Tell

CUTOFF = 10
WORDS, MOST_WORDS, LEAST_ITEMS = 5_000, 12, 3


@dataclass
class Progress:
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    valid: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def over(self, settings: Settings) -> bool:
        return self.epoch >= settings.epochs or self.epoch - self.best_epoch >= settings.patience


class Trainer:
    """`folder` holds what this training has reached."""

    def __init__(
        self,
        name: Trained,
        settings: Settings,
        numbering: Numbering,
        valid: Sequence[Split],
        folder: Path,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.name, self.settings, self.numbering = name, settings, numbering
        self.valid, self.folder = valid, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = NETWORKS[name](sizes_of(numbering), settings).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.progress = Progress()

    def train(self, tell: Tell) -> Progress:
        self.resume()
        while not self.progress.over(self.settings):
            began = time.monotonic()
            self._epoch(tell)
            self.progress.epoch += 1
            reached = self.reached()
            self.progress.valid.append(round(reached, 5))
            self.progress.seconds += time.monotonic() - began
            if reached > self.progress.best:
                self.progress.best, self.progress.best_epoch = reached, self.progress.epoch
                self._save("best.pt")
            self._save("newest.pt")
        self._load("best.pt")
        return self.progress

    def resume(self) -> None:
        if (self.folder / "newest.pt").exists():
            self._load("newest.pt")

    def reached(self) -> float:
        """On validation targets, which are not trained on; the mean of the files."""
        return float(np.mean([self._ndcg(split) for split in self.valid]))

    def _ndcg(self, split: Split) -> float:
        gains = []
        for question, scores in zip(
            split.questions, score_all(self.network, self.numbering, split.questions), strict=True
        ):
            rank = judged(question, scores, split.targets[question.user_id]).rank
            gains.append(ndcg(rank, CUTOFF))
        return float(np.mean(gains))

    def _epoch(self, tell: Tell) -> None:
        self.network.train()
        rng = np.random.default_rng((self.settings.seed, self.progress.epoch))
        torch.manual_seed(self.settings.seed * 1_000 + self.progress.epoch)
        lost: list[float] = []
        rows = list(batches(self.numbering.sequences, self.settings, rng))
        for done, (users, sequences) in enumerate(rows, start=1):
            loss = self._loss(
                torch.from_numpy(users).to(self.device),
                torch.from_numpy(sequences).to(self.device),
            )
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            lost.append(float(loss.detach()))
            tell(f"{self.name}, epoch {self.progress.epoch + 1}", done, len(rows))
        self.progress.losses.append(round(float(np.mean(lost)), 5))

    def _loss(self, users: Tensor, sequences: Tensor) -> Tensor:
        seen, next_items = sequences[:, :-1], sequences[:, 1:]
        real = next_items > 0
        with half_precision(self.device):
            states = self.network(users, seen)[real]
            expected = next_items[real]
            if self.settings.loss is Loss.BPR:
                others = torch.randint(
                    1, len(self.numbering.items) + 1, expected.shape, device=self.device
                )
                pair = torch.stack((expected, others), -1)
                good, bad = self.network.scores(states, pair).unbind(-1)
                return -functional.logsigmoid(good - bad).mean()
            if self.settings.negatives:
                return self._against_drawn(states, expected)
            scores = self.network.all_scores(states)
        return functional.cross_entropy(scores.float(), expected - 1)

    def _against_drawn(self, states: Tensor, expected: Tensor) -> Tensor:
        """Those drawn count for the whole catalog, each for as many items as it was drawn from."""
        items, drawn = len(self.numbering.items), self.settings.negatives
        others = torch.randint(1, items + 1, (drawn,), device=self.device)
        mine = self.network.scores(states, expected[:, None]).float()
        theirs = self.network.scores_of(states, others).float() + math.log(items / drawn)
        theirs = theirs.masked_fill(others == expected[:, None], -torch.inf)
        return (torch.cat((mine, theirs), -1).logsumexp(-1) - mine.squeeze(-1)).mean()

    def _save(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        whole = self.folder / f"{name}.part"
        torch.save(state, whole)
        whole.replace(self.folder / name)
        told = {"settings": asdict(self.settings), "progress": asdict(self.progress)}
        (self.folder / "training.json").write_text(json.dumps(told, indent=2) + "\n")

    def _load(self, name: str) -> None:
        state: dict[str, Any] = torch.load(
            self.folder / name, map_location=self.device, weights_only=True
        )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if name == "newest.pt":
            self.progress = Progress(**state["progress"])


def batches(
    sequences: Sequence[Numbers], settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[Numbers, Numbers]]:
    """Users and their items, of about so many items each; those of similar length together."""
    users = np.array([user for user, one in enumerate(sequences, 1) if len(one) > 1])
    lengths = np.array([min(len(sequences[user - 1]), settings.longest + 1) for user in users])
    # Of equal length in another order every time.
    order = np.lexsort((rng.random(len(users)), lengths + rng.integers(0, 2, len(users))))
    ends = np.cumsum(lengths[order])
    cuts = np.searchsorted(ends, np.arange(settings.batch_items, ends[-1], settings.batch_items))
    groups = [group for group in np.split(order, np.unique(cuts)) if len(group)]
    for place in rng.permutation(len(groups)):
        chosen = users[groups[place]]
        rows = [sequences[user - 1] for user in chosen]
        yield chosen, padded(rows, settings.longest + 1)


@torch.no_grad()  # type: ignore[untyped-decorator]
def score_all(
    network: Network, numbering: Numbering, questions: Sequence[Question]
) -> list[tuple[float, ...]]:
    """In float32: the same question has the same scores, whoever is asked beside it."""
    network.eval()
    device = next(network.parameters()).device
    found = []
    for question in questions:
        history = padded([numbering.of(question.history)], network.settings.longest)
        candidates = torch.from_numpy(numbering.of(question.candidates)).to(device)
        users = torch.tensor([numbering.user(question)], device=device)
        state = network(users, torch.from_numpy(history).to(device))[0, -1]
        found.append(tuple(network.scores(state, candidates).tolist()))
    return found


def sizes_of(numbering: Numbering) -> Sizes:
    """With the words of the titles: those of enough items, the most frequent first."""
    split = [_words(title) for title in numbering.training.titles.values()]
    counts = Counter(word for words in split for word in set(words))
    known = [word for word, count in counts.most_common(WORDS) if count >= LEAST_ITEMS]
    numbers = {word: number for number, word in enumerate(known, start=1)}
    table = torch.zeros(len(split) + 1, MOST_WORDS, dtype=torch.int64)
    for item, words in enumerate(split, start=1):
        kept = [numbers[word] for word in words if word in numbers][:MOST_WORDS]
        table[item, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
    return Sizes(len(numbering.users), len(numbering.items), table, len(known))


def _words(title: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\w+", title.lower())))


def half_precision(device: torch.device) -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16)
    return context
