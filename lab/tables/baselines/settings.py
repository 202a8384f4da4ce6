"""What a trained baseline is made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Trained(StrEnum):
    BPRMF = "bprmf"
    GRU4REC = "gru4rec"
    SASREC = "sasrec"
    HGN = "hgn"
    SRGNN = "srgnn"
    FDSA = "fdsa"


class Loss(StrEnum):
    """`softmax`: the next item against the catalog; `bpr`: against one other."""

    SOFTMAX = "softmax"
    BPR = "bpr"


@dataclass(frozen=True)
class Settings:
    """`negatives` stand for the catalog in the softmax, drawn anew in every step; with 0 all items
    are in it. `longest`: so many of the newest items are seen; those that look at a window see
    `window` of them. `patience`: epochs without a better one before training ends."""

    width: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    loss: Loss = Loss.SOFTMAX
    negatives: int = 2_048
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    longest: int = 50
    window: int = 5
    batch_items: int = 1_024
    epochs: int = 30
    patience: int = 3
    seed: int = 0

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


_BRIEF = Settings(learning_rate=2e-3, batch_items=2_048, epochs=15, patience=2)

SETTINGS: Mapping[Trained, Settings] = {
    Trained.BPRMF: Settings(
        loss=Loss.BPR, weight_decay=1e-6, dropout=0.0, learning_rate=5e-3, batch_items=8_192,
        epochs=40, patience=5,
    ),
    Trained.GRU4REC: Settings(layers=1),
    Trained.SASREC: Settings(),
    Trained.HGN: replace(_BRIEF, dropout=0.5),
    Trained.SRGNN: replace(_BRIEF, layers=1, window=10),
    Trained.FDSA: _BRIEF,
}  # fmt: skip

# The usual grids of the papers that compare these networks: width, layers, dropout, learning rate
# and heads; for HGN and SR-GNN windows around the usual ones, a handful of items and a short
# session. What a network does not have is not in its grid: HGN has one layer, BPR-MF no dropout
# either, but a weight decay.
Grid = Mapping[str, Sequence[Any]]

_USUAL: Grid = {"width": (32, 64, 128), "learning_rate": (1e-2, 1e-3, 1e-4)}
_DROPPED: Grid = {**_USUAL, "dropout": (0.1, 0.3, 0.5)}
_LAYERED: Grid = {**_DROPPED, "layers": (1, 2, 3)}
_HEADED: Grid = {**_LAYERED, "heads": (1, 2, 4)}

GRIDS: Mapping[Trained, Grid] = {
    Trained.BPRMF: {**_USUAL, "weight_decay": (0.0, 1e-6, 1e-4)},
    Trained.GRU4REC: _LAYERED,
    Trained.SASREC: _HEADED,
    Trained.HGN: {**_DROPPED, "window": (3, 5, 8)},
    Trained.SRGNN: {**_LAYERED, "window": (5, 10, 20)},
    Trained.FDSA: _HEADED,
}
