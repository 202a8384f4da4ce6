"""Named recipes: the data sets of the paper's tables, from the files of Amazon's reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.tables.data.sources import Source
from services.errors import ConfigurationError


@dataclass(frozen=True)
class Recipe:
    """`stem` is the category's name in file names."""

    stem: str
    source: Source = Source.AMAZON

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Reviews and metadata, as published in 2018 or in 2023, compressed or not."""
        reviews = (f"{self.stem}_5.json", f"{self.stem}.json", f"{self.stem}.jsonl")
        items = (f"meta_{self.stem}.json", f"meta_{self.stem}.jsonl")
        return _first(folder, reviews), _first(folder, items)


RECIPES: Mapping[str, Recipe] = {
    "arts": Recipe("Arts_Crafts_and_Sewing"),
    "games": Recipe("Video_Games"),
    "instruments": Recipe("Musical_Instruments"),
    "beauty": Recipe("All_Beauty"),
    "toys": Recipe("Toys_and_Games"),
    "sports": Recipe("Sports_and_Outdoors"),
}


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    raise ConfigurationError(
        f"{folder} has none of {', '.join(names)}, compressed or not: they are published with "
        "Amazon's reviews of 2018 and 2023"
    )
