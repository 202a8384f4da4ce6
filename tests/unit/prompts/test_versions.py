"""A template's version is the name under which a model was trained or measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.prompts import (
    TemplateName,
    labels,
    leads,
    regularization,
    template_version,
    template_versions,
    titles,
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    template_version.cache_clear()
    yield
    template_version.cache_clear()


def test_every_template_has_a_version_of_its_own() -> None:
    versions = template_versions()
    assert set(versions) == set(TemplateName)
    assert len(set(versions.values())) == len(TemplateName)
    assert all(version.startswith(f"{name}-") for name, version in versions.items())


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (labels, "LABELS", labels.LABELS[::-1]),
        (titles, "HYGIENE_VERSION", titles.HYGIENE_VERSION + 1),
        (titles, "UNTITLED", "no title"),
        (leads, "CUE", "Best:"),
        (leads, "REASONING_CUE", "Why:"),
        (
            regularization,
            "DEFAULT_REGULARIZATION",
            replace(regularization.DEFAULT_REGULARIZATION, by_title="A title."),
        ),
    ],
)
def test_what_shapes_a_prompt_changes_the_version(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: object
) -> None:
    before = template_versions()
    template_version.cache_clear()
    monkeypatch.setattr(module, name, value)
    after = template_versions()
    assert all(before[template] != after[template] for template in TemplateName)


def test_the_published_versions_stand() -> None:
    """lrgd-mini is trained on these: whoever changes them trains and measures it anew."""
    assert sorted(template_versions().values()) == [
        "inv-09539adc371e",
        "paper-9c94f6582676",
        "prefix_cached-b5d047a19904",
    ]
