"""How the engine that ships is named. Apart from `lab.engines`, which loads what it makes."""

from __future__ import annotations

EMBEDDED = "onnx"  # lrgd-mini in ONNX Runtime, in process
