"""The files of an embedded model: Hugging Face's own, and beside them the graph."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.llm.errors import ModelUnavailable

GRAPH = "model.onnx"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
_NEEDED = (GRAPH, WEIGHTS, CONFIG, TOKENIZER, TOKENIZER_CONFIG)


@dataclass(frozen=True)
class ModelFiles:
    folder: Path
    context_tokens: int
    tokenizer_config: dict[str, Any]
    chat_template: str
    end_tokens: tuple[int, ...]

    @classmethod
    def read(cls, folder: Path) -> ModelFiles:
        missing = missing_files(folder)
        if missing:
            raise ModelUnavailable(f"the model's folder {folder} lacks {', '.join(missing)}")
        config = _json(folder / CONFIG)
        tokenizer_config = _json(folder / TOKENIZER_CONFIG)
        apart = folder / CHAT_TEMPLATE
        template = (
            apart.read_text(encoding="utf-8")
            if apart.is_file()
            else tokenizer_config.get("chat_template")
        )
        if not isinstance(template, str):
            raise ModelUnavailable(f"the model in {folder} has no chat template")
        generation = folder / GENERATION
        ends = _json(generation).get("eos_token_id") if generation.is_file() else None
        ends = config.get("eos_token_id") if ends is None else ends
        context_tokens = config.get("max_position_embeddings")
        if ends is None or context_tokens is None:
            raise ModelUnavailable(
                f"{folder / CONFIG} must say eos_token_id and max_position_embeddings"
            )
        end_tokens = tuple(ends) if isinstance(ends, list) else (ends,)
        return cls(folder, context_tokens, tokenizer_config, template, end_tokens)

    @property
    def graph(self) -> Path:
        return self.folder / GRAPH

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER

    def weights_digest(self) -> str:
        return _digest((self.folder / WEIGHTS).read_bytes())

    def graph_digest(self) -> str:
        return _digest(self.graph.read_bytes())

    def tokenizer_digest(self) -> str:
        """What decides which tokens a chat becomes."""
        return _digest(self.tokenizer.read_bytes(), self.chat_template.encode())


def missing_files(folder: Path) -> list[str]:
    return [name for name in _NEEDED if not (folder / name).is_file()]


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelUnavailable(f"{path} is not JSON: {error}") from error
    return content


def _digest(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
