"""The embedded engine: a small model in ONNX Runtime, in this process."""

from services.llm.onnx.model import OnnxConfig, OnnxModel

__all__ = ["OnnxConfig", "OnnxModel"]
