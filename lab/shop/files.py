"""The data files of the sample shop, as the catalog imports them."""

import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.shop.events import Event, ShopUser, in_time_order, sample_users
from lab.shop.taste import SHIPPED_USERS, Shop

ITEMS_FILE, USERS_FILE, EVENTS_FILE = "items.jsonl", "users.jsonl", "events.jsonl.gz"


def write_sample_shop(folder: Path) -> list[Path]:
    """Write the shipped shop into a folder; the same bytes every time."""
    return write_shop(folder, Shop(), SHIPPED_USERS)


def write_shop(folder: Path, shop: Shop, numbers: Sequence[int]) -> list[Path]:
    users = list(sample_users(shop, numbers))
    contents = {
        ITEMS_FILE: _lines(item_rows(shop)),
        USERS_FILE: _lines(user_rows(users)),
        EVENTS_FILE: _compressed(_lines(event_rows(shop, in_time_order(users)))),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def item_rows(shop: Shop) -> Iterable[dict[str, object]]:
    for item in shop.catalog.items:
        yield {
            "item_id": item.item_id,
            "title": item.title,
            "categories": list(item.categories),
            "attributes": item.attributes,
        }


def user_rows(users: Iterable[ShopUser]) -> Iterable[dict[str, object]]:
    for user in users:
        profile = user.profile
        yield {
            "user_id": profile.user_id,
            "attributes": {
                "country": profile.country,
                "member_since": profile.member_since.isoformat(),
            },
        }


def event_rows(shop: Shop, events: Iterable[Event]) -> Iterable[dict[str, object]]:
    for event in events:
        row: dict[str, object] = {
            "event_id": event.event_id,
            "user_id": event.user_id,
            "item_id": shop.catalog.items[event.item].item_id,
            "type": event.type,
        }
        if event.value is not None:
            row["value"] = event.value
        row["occurred_at"] = event.occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        yield row


def _lines(rows: Iterable[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _compressed(content: bytes) -> bytes:
    """Without a name or a time, and with a header that no version of Python changes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write(content)
    return buffer.getvalue()
