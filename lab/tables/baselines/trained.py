"""Trained networks by content: what was trained once on the same data is found again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.evaluation.questions import Question, Split, Training
from lab.tables.baselines.numbering import Numbering
from lab.tables.baselines.settings import SETTINGS, Settings, Trained

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Ground:
    """What training needs beside the data: the files that stop it early, a place for checkpoints,
    and somebody who is told how far it is."""

    valid: tuple[Split, ...]
    folder: Path
    tell: Tell


class ByNetwork:
    """Scores a question's candidates; the network is trained, or found, when the first is asked."""

    def __init__(self, name: Trained, training: Training, ground: Ground) -> None:
        self._name, self._training, self._ground = name, training, ground
        self._scores: Callable[[Question], tuple[float, ...]] | None = None

    def __call__(self, question: Question) -> tuple[float, ...]:
        if self._scores is None:
            self._scores = self._trained()
        return self._scores(question)

    def _trained(self) -> Callable[[Question], tuple[float, ...]]:
        import torch  # noqa: PLC0415 - of the lab alone

        from lab.tables.baselines.training import Trainer, score_all  # noqa: PLC0415

        torch.set_num_threads(1)
        numbering = Numbering(self._training)
        folder = self._ground.folder / content_key(self._name, self._training, self._ground.valid)
        trainer = Trainer(self._name, SETTINGS[self._name], numbering, self._ground.valid, folder)
        trainer.train(self._ground.tell)
        return lambda question: score_all(trainer.network, numbering, [question])[0]


def content_key(
    name: Trained,
    training: Training,
    valid: tuple[Split, ...],
    settings: Settings | None = None,
) -> str:
    """Of what a network is learned from, how, and by which files training is stopped. Without
    settings, of its own."""
    settings = settings or SETTINGS[name]
    stopped_by = hashlib.sha256(" ".join(split.digest for split in valid).encode()).hexdigest()
    return f"{name}-{training.digest}-{settings.digest}-{stopped_by[:8]}"
