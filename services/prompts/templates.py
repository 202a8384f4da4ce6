"""Templates are files: one Jinja2 block per segment, in the order of the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.meta import find_referenced_templates
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.prompts.requests import TemplateName
from services.prompts.segments import Segment, SegmentName

FOLDER = Path(__file__).parent / "templates"


@cache
def environment(folder: Path) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder, encoding="utf-8"),
        undefined=StrictUndefined,
        autoescape=False,  # a prompt is no HTML: titles keep their bytes
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        newline_sequence="\n",
    )


def render(name: TemplateName, values: Mapping[str, object]) -> list[Segment]:
    """The segments that are not empty, in order, each with its line breaks."""
    template = environment(FOLDER).get_template(f"{name}.jinja")
    context = template.new_context(dict(values))
    segments = []
    for block, rendered in template.blocks.items():
        text = "".join(rendered(context))
        if text:
            segments.append(Segment(SegmentName(block), text))
    return segments


def source(folder: Path, file: str) -> list[str]:
    """The text of a template, and of the files it includes."""
    text = (folder / file).read_text(encoding="utf-8")
    included = find_referenced_templates(environment(folder).parse(text))
    return [text, *(part for name in included if name for part in source(folder, name))]
