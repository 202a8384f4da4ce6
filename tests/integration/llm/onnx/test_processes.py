"""The model is loaded by the process that uses it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from services.llm.errors import ModelUnavailable
from services.llm.onnx import OnnxConfig, OnnxModel
from services.llm.port import Terms
from services.observability.metrics import Metrics

FORKED = """
    import asyncio, os, sys
    from pathlib import Path
    from services.llm.chat import Chat, Message
    from services.llm.onnx import OnnxConfig, OnnxModel
    from services.llm.port import GenerationRequest, Sampling, Terms
    from services.observability.metrics import Metrics

    model = OnnxModel(OnnxConfig(Path(sys.argv[1])), Metrics())

    async def use():
        chat = Chat((Message("user", "Tea?"),))
        request = GenerationRequest(chat, Sampling(8))
        (written,) = await model.generate([request], Terms.within(30))
        await model.aclose()
        assert written.text

    assert "onnxruntime" not in sys.modules  # it does not survive a fork
    child = os.fork()
    asyncio.run(use())
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on this system")
def test_a_model_made_before_a_fork_works_on_both_sides(folder: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FORKED), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


async def test_making_one_loads_nothing_and_closing_one_unused_is_fine(tmp_path: Path) -> None:
    model = OnnxModel(OnnxConfig(tmp_path / "nowhere"), Metrics())
    await model.aclose()


async def test_a_model_that_was_missing_is_found_at_the_next_call(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "model"
    async with OnnxModel(OnnxConfig(place), Metrics()) as model:
        with pytest.raises(ModelUnavailable, match="lacks"):
            await model.describe(Terms.within(30))
        place.symlink_to(folder)
        assert (await model.describe(Terms.within(30))).fingerprint.engine == "onnxruntime"
