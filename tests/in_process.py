"""The command ``screener`` without a process of its own: as fast as a call, with folders of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from screener.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class InProcess:
    """The command without a process of its own, with folders of its own."""

    home: Path
    capture: pytest.CaptureFixture[str]
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, text: str) -> Path:
        """Write the user's own configuration file."""
        file = self.home / "screener/screener.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def __call__(self, *given_arguments: object) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        folders = {f"XDG_{kind}_HOME": str(self.home) for kind in ("STATE", "CONFIG", "DATA")}
        with (
            mock.patch.dict(os.environ, folders | self.environment),
            mock.patch("sys.argv", ["screener", *map(str, given_arguments)]),
            # A process stays as nice as it once was.
            mock.patch("os.nice", return_value=0),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        out, err = self.capture.readouterr()
        return int(ended.value.code or 0), out, err
