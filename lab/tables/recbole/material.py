"""A small data set in both shapes: our evaluation files, and RecBole's atomic files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lab.evaluation.files import ITEMS, SEQUENCES, Data, read_data, read_split
from lab.evaluation.questions import Split, Training, training_part
from lab.evaluation.shop_split import write_shop_split

# So many of a user's newest items, the two targets included: RecBole makes a line of every item
# with all that lies before it, and takes hours for long histories.
ASKED, OTHERS, NEWEST = 1_000, 1_000, 16
TEST, VALID, DATASET = "test-shop.jsonl", "valid-shop.jsonl", "shop"


@dataclass(frozen=True)
class Material:
    """`atomic` is RecBole's folder of this data set."""

    folder: Path
    training: Training
    test: Split
    valid: Split
    atomic: Path


def write_material(out: Path) -> Material:
    ours, atomic = out / "data", out / "atomic" / DATASET
    if not (ours / VALID).is_file():
        write_shop_split(out / "whole" / TEST, ASKED, OTHERS)
        _shorten(out / "whole", ours)
    data = read_data(ours)
    _write_atomic(data, atomic)
    test = read_split(ours / TEST, data)
    training = training_part(data.titles, data.sequences, test)
    return Material(out, training, test, read_split(ours / VALID, data), atomic)


def _shorten(whole: Path, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    (to / ITEMS).write_bytes((whole / ITEMS).read_bytes())
    dropped, lines = {}, []
    for number, line in enumerate((whole / SEQUENCES).read_text().splitlines()):
        user, listed = line.split("\t")
        items = listed.split() if number else [listed]  # behind the names of the columns
        dropped[user] = max(0, len(items) - NEWEST)
        lines.append(f"{user}\t{' '.join(items[-NEWEST:])}\n")
    (to / SEQUENCES).write_text("".join(lines))
    for name in (TEST, VALID):
        rows = [json.loads(line) for line in (whole / name).read_text().splitlines()]
        for row in rows:
            row["history_length"] -= dropped[row["user_id"]]
        (to / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_atomic(data: Data, to: Path) -> None:
    """Places in a sequence stand for times."""
    to.mkdir(parents=True, exist_ok=True)
    taken = [
        f"{user}\t{item}\t{place}\n"
        for user, items in data.sequences.items()
        for place, item in enumerate(items)
    ]
    named = [f"{item}\t{title}\n" for item, title in data.titles.items()]
    (to / f"{to.name}.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(taken)
    )
    (to / f"{to.name}.item").write_text("item_id:token\ttitle:token_seq\n" + "".join(named))
