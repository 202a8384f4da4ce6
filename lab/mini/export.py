"""From a training's checkpoint to the files that ship: both engines read the same weights."""

from __future__ import annotations

from pathlib import Path

from lab.mini.card import make_card, write_card
from lab.mini.hugging_face import load_checkpoint, write_hugging_face
from lab.mini.onnx_graph import write_graph

MOST_BYTES = 25_000_000


class TooLarge(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(
            f"the files have {size:,} bytes, {MOST_BYTES:,} are allowed in the repository: "
            "train a smaller model"
        )


def export(training: Path, folder: Path) -> list[Path]:
    """The files, in `folder`. Raises TooLarge."""
    model, tokenizer, state = load_checkpoint(training)
    write_hugging_face(model, tokenizer, folder)
    write_graph(folder)
    write_card(make_card(state, sum(weight.numel() for weight in model.parameters())), folder)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    size = sum(file.stat().st_size for file in files)
    if size > MOST_BYTES:
        raise TooLarge(size)
    return files
