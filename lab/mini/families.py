"""Architectures that the lean model can be written as. They compute nearly the same: what differs
is a bias, and which tensors are stored as one."""

from __future__ import annotations

from enum import StrEnum


class Family(StrEnum):
    """Named as in `model_type` of Hugging Face's configurations."""

    LLAMA = "llama"
    QWEN2 = "qwen2"
    PHI3 = "phi3"
    MISTRAL = "mistral"

    @property
    def architecture(self) -> str:
        return f"{self.value.capitalize()}ForCausalLM"

    @property
    def biased(self) -> bool:
        """Queries, keys and values have biases."""
        return self is Family.QWEN2

    @property
    def fused(self) -> bool:
        """Queries, keys and values come from one matrix; so do the two halves of the MLP."""
        return self is Family.PHI3
