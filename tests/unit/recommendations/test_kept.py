"""What is kept of a user comes back as it was, in less memory."""

from __future__ import annotations

import json
import zlib

import pytest

from services.recommendations.kept import packed, unpacked

TEXT = (
    "Preference: Drawn to Compact and Playful designs; buys Pruner and Radio.\n"
    "Evidence: Tarnfell Ultralight Wallet; Tarnfell Compact Pruner.\n"
    "Suggestion: Put Compact items ahead.\n"
    "Example: after Tarnfell Compact Pruner the user chose Birkhollow Playful Lunch Box because "
    "it is Playful, as before."
)
STATE = {
    "v": 123_456,
    "w": 3,
    "complete": True,
    "history": [f"item-{37 * n % 800:04d}" for n in range(20)],
    "variants": [["variant-1", 0, 4, 0.63, -1.5, 150, TEXT, None, True]],
    "epoch": None,
}
# Of a version that had other words in common.
OTHERS = zlib.compressobj(zdict=b"complete")


@pytest.mark.parametrize("content", [STATE, {}, [], ["ключ", "鍵", "🗝", "\u0000"]])
def test_it_comes_back_as_it_was(content: object) -> None:
    assert unpacked(packed(content)) == content


def test_it_takes_less_than_half_of_what_json_takes() -> None:
    assert len(packed(STATE)) < len(json.dumps(STATE)) / 2


@pytest.mark.parametrize(
    "kept",
    [
        None,
        b"",
        b'{"v":1}',  # as it was kept once
        OTHERS.compress(b'{"v":1}') + OTHERS.flush(),
        packed(STATE)[:-20],
        packed(STATE)[:20] + b"\xff" * 20,
    ],
)
def test_what_cannot_be_read_is_not_there(kept: bytes | None) -> None:
    assert unpacked(kept) is None
