"""Settings of a network tried out: each is trained, and judged on validation files alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.evaluation.evaluation import Watch
from lab.evaluation.files import read_data, read_split
from lab.evaluation.questions import Question, Split, Training, training_part
from lab.tables.baselines.numbering import Numbering
from lab.tables.baselines.settings import GRIDS, SETTINGS, Settings, Trained
from lab.tables.baselines.trained import content_key
from services.errors import ConfigurationError

if TYPE_CHECKING:
    from lab.tables.baselines.training import Progress

MEASURE = "ndcg@10"


@dataclass(frozen=True)
class Tried:
    """`reached` is the mean nDCG@10 of the validation files after the best epoch. `changed`: from
    the settings that the tables use."""

    settings: Settings
    changed: dict[str, Any]
    reached: float
    best_epoch: int
    epochs: int
    seconds: float


def around(name: Trained, epochs: int) -> list[Settings]:
    """The settings of the tables, and each change of one of them; with so many epochs at most."""
    own = replace(SETTINGS[name], epochs=min(epochs, SETTINGS[name].epochs))
    changed = [
        replace(own, **{setting: value})
        for setting, values in GRIDS[name].items()
        for value in values
        if value != getattr(own, setting)
    ]
    return [own, *changed]


def whole(name: Trained) -> list[Settings]:
    """Every combination, and the settings of the tables first, though they may be none of them."""
    own, grid = SETTINGS[name], GRIDS[name]
    every = [
        replace(own, **dict(zip(grid, values, strict=True)))
        for values in itertools.product(*grid.values())
    ]
    return list(dict.fromkeys([own, *every]))


def read_valid(data: Path) -> tuple[Training, tuple[Split, ...]]:
    """No test file is opened: what may be learned from ends before the validation targets."""
    files = sorted(data.glob("valid-*.jsonl"))
    if not files:
        raise ConfigurationError(f"--data: {data} has no valid-*.jsonl to judge settings by")
    read = read_data(data)
    valid = tuple(read_split(file, read) for file in files)
    shortest: dict[str, Question] = {}
    for question in itertools.chain.from_iterable(split.questions for split in valid):
        known = shortest.setdefault(question.user_id, question)
        if len(question.history) < len(known.history):
            shortest[question.user_id] = question
    asked = replace(valid[0], questions=tuple(shortest.values()))
    return training_part(read.titles, read.sequences, asked), valid


@dataclass(frozen=True)
class Search:
    """`folder` keeps what is trained, by content: the tables' networks are found there, too."""

    name: Trained
    data: Path
    folder: Path

    def tried(self, settings: Sequence[Settings], watch: Watch) -> list[Tried]:
        """The best first; of those alike, the one that was named earlier."""
        training, valid = read_valid(self.data)
        numbering = Numbering(training)
        found = []
        for done, one in enumerate(settings, start=1):
            progress = self._trained(one, numbering, valid, watch)
            found.append(
                Tried(
                    one,
                    self._changed(one),
                    progress.best,
                    progress.best_epoch,
                    progress.epoch,
                    progress.seconds,
                )
            )
            watch.tell(f"{self.name}, settings", done, len(settings))
        return sorted(found, key=lambda one: -one.reached)

    def _trained(
        self, settings: Settings, numbering: Numbering, valid: tuple[Split, ...], watch: Watch
    ) -> Progress:
        import torch  # noqa: PLC0415 - of the lab alone

        from lab.tables.baselines.training import Trainer  # noqa: PLC0415

        torch.set_num_threads(1)
        key = content_key(self.name, numbering.training, valid, settings)
        return Trainer(self.name, settings, numbering, valid, self.folder / key).train(watch.tell)

    def _changed(self, settings: Settings) -> dict[str, Any]:
        own, here = asdict(SETTINGS[self.name]), asdict(settings)
        return {name: here[name] for name in GRIDS[self.name] if here[name] != own[name]}
