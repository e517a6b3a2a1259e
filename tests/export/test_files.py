"""Files are written whole or not at all; tables name their lines."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import pytest

from export.errors import DataError
from export.files import atomically, read_rows, save_json

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_save_leaves_the_former_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    save_json(path, {"first": 1})

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as failure:
        atomically(path, fail)
    assert failure.value.filename == str(path)
    assert json.loads(path.read_text()) == {"first": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]


def test_an_interrupt_leaves_no_part(tmp_path: Path) -> None:
    def stop(partial: Path) -> None:
        partial.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomically(tmp_path / "epoch.keras", stop)
    assert not list(tmp_path.iterdir())


def test_the_partial_file_has_the_suffix_of_the_whole(tmp_path: Path) -> None:
    names = []
    atomically(tmp_path / "weights.npz", lambda partial: (names.append(partial.suffix), partial.write_bytes(b"x")))
    assert names == [".npz"]
    assert (tmp_path / "weights.npz").read_bytes() == b"x"


def test_rows_come_with_the_line_that_an_editor_shows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('\ufeffpath,note\na.png,"two\nlines"\nb.png\n', encoding="utf-8")
    assert read_rows(path, ("path", "note"), "hint") == [
        (3, {"path": "a.png", "note": "two\nlines"}),
        (4, {"path": "b.png", "note": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path\n", "no column set"),
        (b"", "no column path, set"),
        (b"path,set\n\xff\xfe\n", "cannot be read"),
        (b'path,set\n"' + b"x" * 200_000 + b'",fit\n', "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_to_do(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "groups.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as failure:
        read_rows(path, ("path", "set"), "write it with: python -m export audit")
    assert failure.value.hint == "write it with: python -m export audit"
