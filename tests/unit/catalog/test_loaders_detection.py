from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from services.catalog.inputs import Kind
from services.catalog.loaders import Format, UnreadableFile, detect

EVENT = '{"user_id":"u","item_id":"i","type":"view"}'


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("name", "first_line", "expected"),
    [
        ("events.jsonl", EVENT, (Format.JSONL, Kind.EVENTS)),
        ("export.jsonl", EVENT, (Format.JSONL, None)),
        ("items.jsonl", EVENT, (Format.JSONL, None)),
        ("items.2024.jsonl", '{"item_id":"i"}', (Format.JSONL, Kind.ITEMS)),
        ("users.json", '{"user_id":"u","attributes":{}}', (Format.JSONL, Kind.USERS)),
        ("empty.jsonl", "", (Format.JSONL, None)),
        ("export.jsonl", f"\n{{broken\n{EVENT}", (Format.JSONL, None)),
        ("ml.inter", "user_id:token\titem_id:token", (Format.RECBOLE, Kind.EVENTS)),
        ("ml.item", "item_id:token\ttitle:token_seq", (Format.RECBOLE, Kind.ITEMS)),
        ("ml.user", "user_id:token", (Format.RECBOLE, Kind.USERS)),
        ("a.tsv", "user_id:token\titem_id:token", (Format.RECBOLE, Kind.EVENTS)),
        ("a.txt", "user_id:token\tage:float", (Format.RECBOLE, Kind.USERS)),
        ("r.json", '{"reviewerID":"A","asin":"B"}', (Format.AMAZON, Kind.EVENTS)),
        ("r.jsonl", '{"user_id":"A","parent_asin":"B"}', (Format.AMAZON, Kind.EVENTS)),
        ("m.json", "{'asin': 'B', 'title': 'T'}", (Format.AMAZON, Kind.ITEMS)),
        ("m.jsonl", '{"parent_asin":"B","title":"T"}', (Format.AMAZON, Kind.ITEMS)),
        ("users.jsonl", '{"UserId":"1","Labels":null}', (Format.GORSE, Kind.USERS)),
        ("items.jsonl", '{"ItemId":"1","IsHidden":false}', (Format.GORSE, Kind.ITEMS)),
        (
            "feedback.jsonl",
            '{"FeedbackType":"like","UserId":"1","ItemId":"2"}',
            (Format.GORSE, Kind.EVENTS),
        ),
    ],
)
def test_a_file_is_known_by_its_name_and_first_line(
    tmp_path: Path, name: str, first_line: str, expected: tuple[Format, Kind | None], packed: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    content = f"{first_line}\n".encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    assert detect(path) == expected


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", b"", "is empty"),
        ("a.json", b'[{"user_id":"u"},', "is a JSON array"),
        ("a.csv", b"user,item\n1,2\n", "neither a JSON object nor a RecBole header"),
        ("a.jsonl", b'{"id":1,"name":"x"}\n', "its first line has the fields id, name"),
        ("a.jsonl", b"{}\n", "its first line has the fields none"),
        ("a.inter", b"1\t2\n", "does not begin with a RecBole header"),
        ("a.zip", b"PK\x03\x04rest", "is a zip archive"),
        ("a.jsonl", b"\xff\xfe{\x00", "is encoded in UTF-16"),
        ("a.jsonl.gz", b"\x1f\x8bnonsense", "cannot be read beyond line 0"),
        ("a.bin", bytes(range(256)) * 10, "is of no known format"),
    ],
)
def test_doubt_is_said_in_plain_words(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=complaint):
        detect(path)
