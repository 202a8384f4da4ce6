"""pip in an image build is to find packages where pip on this machine finds them: write its
settings to FOLDER/pip.conf and print what `buildah bud` has to mount for them.

python pip_settings.py FOLDER
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

TARGET = "/etc/pip.conf"
IN_A_VALUE = re.compile(r"(?:^|\s)(file://)?(/\S+)")


def read_settings() -> dict[str, str]:
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    )
    lines = (line.partition("=") for line in listed.stdout.splitlines())
    return {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in lines}


def main(folder: Path) -> None:
    settings = read_settings()
    file = folder / "pip.conf"
    file.write_text("\n".join(["[global]", *(f"{k} = {v}" for k, v in settings.items()), ""]))
    mounts = {file: TARGET}
    mounts |= {path: str(path) for value in settings.values() for path in named_in(value)}
    sys.stdout.writelines(f"--volume={here}:{there}:ro\n" for here, there in mounts.items())


def named_in(value: str) -> set[Path]:
    """What exists of the files and folders in a value; of an index the folder above it, because
    its pages link to files beside it."""
    paths = {
        Path(path).parent if scheme else Path(path) for scheme, path in IN_A_VALUE.findall(value)
    }
    return {path for path in paths if path.exists() and path != Path("/")}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
