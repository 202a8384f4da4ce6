"""Logs: lines that machines read, or people, and never what a function held in its hands."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from services.observability.logging import configure_logging, get_logger
from services.settings import Settings


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.configure(**configured)


def fail() -> None:
    held = "hunter" + "2"
    try:
        {0: held}[len(held)]
    except LookupError:
        get_logger("ours").exception("failed", part="test")
        logging.getLogger("theirs").exception("%s failed", "too")


def test_a_line_of_json_whoever_logs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(), "worker")
    fail()
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["part"], ours["level"]) == ("failed", "test", "error")
    assert (theirs["event"], theirs["logger"]) == ("too failed", "theirs")
    for line in (ours, theirs):
        assert line["process"] == "worker"
        assert line["timestamp"].endswith("Z")
        assert "KeyError: 7" in line["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_tells_the_way_and_not_the_variables(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logging(Settings.model_validate({"log_format": log_format}), "worker")
    fail()
    written = capsys.readouterr().err
    assert "KeyError: 7" in written
    assert "hunter2" not in written


def test_what_is_below_the_level_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="warning"), "worker")
    get_logger("ours").info("quiet")
    get_logger("ours").warning("loud")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert "loud" in written
