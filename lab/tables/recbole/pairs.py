"""What both are trained with: the same width, layers, dropout, rate, loss and epochs, by the names
that each has for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lab.tables.baselines.settings import Loss, Settings, Trained

EPOCHS = 10
SAME = Settings(
    width=64, layers=2, heads=2, dropout=0.2, negatives=0, learning_rate=3e-3, longest=20,
    epochs=EPOCHS, patience=EPOCHS,
)  # fmt: skip
# Where RecBole's network has no dropout, ours has none.
UNDROPPED = replace(SAME, dropout=0.0, layers=1)


@dataclass(frozen=True)
class Pair:
    """`named`: settings of RecBole's model alone. A network that looks at a window sees sequences
    of its length there."""

    theirs: str
    ours: Settings
    named: Mapping[str, Any]
    windowed: bool = False

    @property
    def their_settings(self) -> dict[str, Any]:
        pairwise = self.ours.loss is Loss.BPR
        return {
            "epochs": self.ours.epochs,
            "stopping_step": self.ours.patience,
            "learning_rate": self.ours.learning_rate,
            # So many items in a step of ours; here an item to be told is a line of its own.
            "train_batch_size": self.ours.batch_items,
            "eval_batch_size": self.ours.batch_items,
            "train_neg_sample_args": (
                {"distribution": "uniform", "sample_num": 1} if pairwise else None
            ),
            "MAX_ITEM_LIST_LENGTH": self.ours.window if self.windowed else self.ours.longest,
            "seed": self.ours.seed,
            **self.named,
        }


_ATTENTION = {
    "hidden_size": SAME.width, "inner_size": 4 * SAME.width, "n_layers": SAME.layers,
    "n_heads": SAME.heads, "hidden_dropout_prob": SAME.dropout, "attn_dropout_prob": SAME.dropout,
}  # fmt: skip
_WIDTH = {"embedding_size": SAME.width}

PAIRS: Mapping[Trained, Pair] = {
    Trained.BPRMF: Pair("BPR", replace(UNDROPPED, loss=Loss.BPR), _WIDTH),
    Trained.GRU4REC: Pair(
        "GRU4Rec",
        replace(SAME, layers=1),
        {**_WIDTH, "hidden_size": 2 * SAME.width, "num_layers": 1, "dropout_prob": SAME.dropout},
    ),
    Trained.SASREC: Pair("SASRec", SAME, _ATTENTION),
    Trained.HGN: Pair("HGN", replace(UNDROPPED, window=5), _WIDTH, windowed=True),
    Trained.SRGNN: Pair("SRGNN", replace(UNDROPPED, window=10), {**_WIDTH, "step": 1}, True),
    # Fewer epochs: RecBole takes many minutes for one.
    Trained.FDSA: Pair(
        "FDSA",
        replace(SAME, epochs=4, patience=4),
        {**_ATTENTION, "selected_features": ["title"]},
    ),
}
