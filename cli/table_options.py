"""Options that the commands of tables and studies share, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.errors import ConfigurationError
from services.prompts import Mode, TemplateName

if TYPE_CHECKING:
    from lab.engines import EngineChoice
    from lab.tables.table2 import Table2

OUT = Path("build/tables")
USERS = 200
Rows = Annotated[list[str] | None, typer.Option(help="Only these rows.")]
Engine = Annotated[
    str | None,
    typer.Option(help="Run the rows that ask a model: `onnx`, a model's folder, or a URL."),
]
Model = Annotated[str | None, typer.Option(help="Which model that server serves.")]
ApiKey = Annotated[str | None, typer.Option(envvar="LRGD_LLM_API_KEY", help="Of that server.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Most calls under way at a server.")]
Engines = Annotated[
    list[str],
    typer.Option(help="`onnx`, a model's folder, or a URL; or NAME=WHERE. Once for each column."),
]
Models = Annotated[
    list[str] | None, typer.Option(help="Which model a server serves, in the order of the URLs.")
]
Asked = Annotated[Mode, typer.Option("--mode", help="How the model is asked to rank.")]
Template = Annotated[TemplateName, typer.Option(help="In which prompts.")]
Users = Annotated[int, typer.Option(min=1, help="So many, the first, for rows that ask a model.")]
Full = Annotated[bool, typer.Option("--full", help="All users for rows that ask a model.")]
Again = Annotated[
    int, typer.Option(min=0, help="Ask anew about so many random users of a row, and compare.")
]
Out = Annotated[
    Path, typer.Option(help="Keeps scores, ranks and trained models; a second call goes on.")
]
Kept = Annotated[bool, typer.Option("--kept", help="Run nothing: only rows that are kept.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Data = Annotated[Path, typer.Option(help="Folder of items.tsv, sequences.tsv, candidates files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def engine_of(
    engine: str | None, model: str | None, api_key: str | None, at_once: int
) -> EngineChoice | None:
    from lab.engines import EngineChoice  # noqa: PLC0415

    if engine is None and model is not None:
        raise ConfigurationError("--model is for a server: name its URL by --engine")
    return None if engine is None else EngineChoice(engine, model, api_key, at_once)


def table_of(
    data: Path, rows: Sequence[str], engine: EngineChoice | None, out: Path, users: int | None
) -> Table2:
    from lab.tables.table2 import Table2  # noqa: PLC0415

    return Table2(data=data, rows=tuple(rows), engine=engine, users=users, out=out)
