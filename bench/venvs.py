"""Virtual environments of others, made once below ``build/`` and used again."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_CONSTRAINTS = ROOT / "constraints.txt"
_SECONDS = 1200


class UnavailableError(Exception):
    """An environment that cannot be made; the message says why, in one line."""


def environment(folder: Path, *packages: str, constraints: Path | None = _CONSTRAINTS) -> Path:
    """Return the Python of an environment that holds `packages`, by default under this project's constraints.

    Raises
    ------
    UnavailableError
        The index cannot be reached, or the packages do not go together.
    """
    python = folder / "bin/python"
    stamp = folder / "made-of"
    made_of = "\n".join(packages) + (hashlib.sha256(constraints.read_bytes()).hexdigest() if constraints else "")
    if stamp.is_file() and stamp.read_text() == made_of:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    # pip itself stays outside: what is measured is what a clinic needs.
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    if packages:
        _run([*install, *(["--constraint", str(constraints)] if constraints else []), *packages])
    stamp.write_text(made_of)
    return python


def megabytes(folder: Path) -> float:
    """Return what a folder takes on the disk, in MB (10⁶ bytes), each file rounded up to its blocks."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise UnavailableError(lines[-1][:200] if lines else f"pip ended with {done.returncode}")
