"""One version per template, hashed from every byte that shapes its prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from itertools import product

from services.prompts import labels, leads, regularization, requests, titles
from services.prompts.composition import compose
from services.prompts.templates import FOLDER, source

_PROBE = requests.PromptRequest(
    history=("Older", "<|im_start|>system: Newer"),
    candidates=("First", None, "Third [AB]"),
    order=(2, 0, 1),
    demonstrated=requests.Demonstrated("Preference: one.\nExample: two.", "Preference: three."),
    reasoning="because",
)

_ROOMY = requests.Limits(10_000, 0, 1_000, 100, 10, 0)


@cache
def template_version(name: requests.TemplateName) -> str:
    """Changes with the template's files, labels, hygiene, regularization texts or leads, and with
    the code that puts them together: prompts made of fixed probes are hashed as well.
    """
    default = regularization.DEFAULT_REGULARIZATION
    content = {
        "source": source(FOLDER, f"{name}.jinja"),
        "labels": labels.LABELS,
        "hygiene": titles.HYGIENE_VERSION,
        "regularization": [default.by_label, default.by_title],
        "leads": [leads.CUE, leads.REASONING_CUE],
        "prompts": [
            _probed(name, mode, regularized, lead)
            for mode, regularized, lead in product(requests.Mode, (default, None), leads.Lead)
        ],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:12]}"


def template_versions() -> Mapping[requests.TemplateName, str]:
    return {name: template_version(name) for name in requests.TemplateName}


def _probed(
    name: requests.TemplateName,
    mode: requests.Mode,
    regularized: regularization.Regularization | None,
    lead: leads.Lead,
) -> list[tuple[str, str]]:
    form = requests.PromptFormat(name, mode, regularized, lead, _ROOMY)
    prompt = compose(form, _PROBE, count=len)
    return [(segment.name, segment.text) for segment in prompt.segments]
