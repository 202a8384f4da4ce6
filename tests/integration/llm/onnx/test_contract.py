"""The embedded engine keeps what every engine promises."""

from __future__ import annotations

from tests.integration.llm.test_engine_contract import *  # noqa: F403
