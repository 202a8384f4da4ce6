"""What the gateway answers about the catalog."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Stored(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ItemOut(Stored):
    item_id: str
    title: str | None
    categories: list[str]
    attributes: dict[str, Any]
    hidden: bool
    updated_at: datetime


class UserOut(Stored):
    user_id: str
    attributes: dict[str, Any]
    updated_at: datetime


class EventOut(Stored):
    event_id: str
    user_id: str
    item_id: str
    type: str
    value: float | None
    occurred_at: datetime
    recommendation_id: str | None
