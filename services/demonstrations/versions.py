"""The versions of all prompts together: what a model that is trained for them must be taught."""

from __future__ import annotations

from services.demonstrations.generation import generator_version
from services.prompts.versions import template_versions

GENERATOR = "generator"


def prompt_versions() -> dict[str, str]:
    templates = {name.value: version for name, version in template_versions().items()}
    return {**templates, GENERATOR: generator_version()}
