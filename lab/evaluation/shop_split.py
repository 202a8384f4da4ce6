"""Fresh users of the generated shop as evaluation files, where lrgd-mini knows the words.

A test line asks for a user's newest item, a validation line for the one before. The test
candidates are those that `lrgd lab mini evaluate` shows these users.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lab.evaluation.files import ITEMS, SEQUENCES, beside
from lab.mini.conditions import CANDIDATES
from lab.mini.moments import Moment, candidates_of
from lab.shop.events import user_id
from lab.shop.lives import sample_lives
from lab.shop.taste import EVALUATION_USERS, Life, Shop, utilities
from services.errors import ConfigurationError

# Of those who are only learned from; nobody is asked about among them.
CROWD = 2_000


def write_shop_split(file: Path, users: int, crowd: int = CROWD) -> list[Path]:
    valid = beside(file)
    if valid is None:
        raise ConfigurationError(
            f"--out: {file.name} must begin with test-, so that the validation file beside it can "
            "be named after it"
        )
    shop = Shop()
    ids = [item.item_id for item in shop.catalog.items]
    asked = list(sample_lives(shop, EVALUATION_USERS[:users]))
    others = sample_lives(shop, EVALUATION_USERS[len(EVALUATION_USERS) - crowd :])
    contents = {
        file.with_name(ITEMS): _table(
            ("item_id", "title"), ((item.item_id, item.title) for item in shop.catalog.items)
        ),
        file.with_name(SEQUENCES): _table(
            ("user_id", "item_ids_oldest_first"),
            (
                (user_id(life.number), " ".join(ids[int(item)] for item in life.items))
                for life in (*asked, *others)
            ),
        ),
        valid: "".join(_line(shop, ids, life, before=2) for life in asked),
        file: "".join(_line(shop, ids, life, before=1) for life in asked),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    for path, text in contents.items():
        path.write_text(text, encoding="utf-8")
    return list(contents)


def _line(shop: Shop, ids: Sequence[str], life: Life, before: int) -> str:
    """Of the item so many places before the end. Negatives were never taken, not even later."""
    position = len(life.items) - before
    moment = Moment(life, position, utilities(shop, life, position))
    # The newest item's as `lab.mini.conditions` draws them, the other's apart from these.
    seed = (life.number, CANDIDATES) if before == 1 else (life.number, CANDIDATES, before)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    row = {
        "user_id": user_id(life.number),
        "history_length": position,
        "target": ids[moment.chosen],
        "candidates": [ids[int(item)] for item in candidates_of(moment, CANDIDATES, rng)],
    }
    return json.dumps(row) + "\n"


def _table(columns: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in (columns, *rows))
