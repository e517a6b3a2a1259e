"""What only a whole night or a clean installation shows: flat memory, and a wheel that screens on its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.conftest import Command, many

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long


def peak(screener: Command, inbox: Path) -> int:
    """Return the largest memory, in bytes, of a scan and its children together."""
    command = screener.arguments("scan", inbox, "--model", screener.model, "--quiet", "--rescan")
    process = subprocess.Popen(command, env=screener.env())
    watched, largest = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            family = [watched, *watched.children(recursive=True)]
            largest = max(largest, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.01)
    assert process.returncode == 0
    return largest


def test_memory_does_not_grow_with_the_inbox(screener: Command, tmp_path: Path) -> None:
    few, lots = peak(screener, many(tmp_path / "few", 200)), peak(screener, many(tmp_path / "lots", 4000))
    assert lots < few + (24 << 20), f"{few >> 20} MiB for 200 files, {lots >> 20} MiB for 4000"


def test_a_log_of_many_runs_does_not_cost_memory(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 1000)
    first = peak(screener, inbox)
    for _ in range(5):
        last = peak(screener, inbox)
    assert last < first + (24 << 20), f"{first >> 20} MiB at first, {last >> 20} MiB after six runs"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it into an environment of its own, and return that environment's Python."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    site = next((folder / "env/lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # What the wheel depends on is borrowed from here, by path alone: .pth files, and so the checkout, stay out.
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.py").write_text(f"import sys\nsys.path += {ours!r}\n")
    (site / "borrowed.pth").write_text("import borrowed\n")
    return python


def run(python: Path, *arguments: object, state: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [python, "-m", "screener", *map(str, arguments)],
        env={**environment, "XDG_STATE_HOME": str(state), "LC_ALL": "C.UTF-8"},
        cwd=state,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model here")
def test_the_wheel_screens_the_demo_inbox_elsewhere(installed: Path, tmp_path: Path) -> None:
    code = "import screener; print(screener.__file__)"
    where = subprocess.run([installed, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert not Path(where.strip()).is_relative_to(ROOT)
    done = run(installed, "scan", ROOT / "docs/demo/inbox", "--json", state=tmp_path)
    assert done.returncode == 4, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    here = subprocess.run(
        [sys.executable, "-m", "screener", "scan", ROOT / "docs/demo/inbox", "--json"],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "here")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found == [json.loads(line) for line in here.stdout.splitlines()]


@pytest.mark.skipif(not (ROOT / "models/lite/model.onnx").exists(), reason="no shipped model here")
def test_the_wheel_writes_pages_and_explains(installed: Path, tmp_path: Path) -> None:
    slice_ = next((ROOT / "docs/demo/inbox/patient-01").iterdir())
    assert run(installed, "scan", ROOT / "docs/demo/inbox/patient-01", "--quiet", state=tmp_path).returncode == 0
    assert run(installed, "report", tmp_path / "page.html", state=tmp_path).returncode == 0
    assert "<style" in (tmp_path / "page.html").read_text("utf-8")
    assert run(installed, "report", tmp_path / "page.html", "--lang", "fr", state=tmp_path).returncode == 0
    assert "Liste de lecture" in (tmp_path / "page.html").read_text("utf-8"), "the wheel holds the French catalogue"
    done = run(installed, "explain", slice_, "--layers", "--out", tmp_path / "explained", state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "explained").iterdir())


def test_the_wheel_holds_what_it_should(installed: Path) -> None:
    site = next(installed.parents[1].glob("lib/python*/site-packages"))
    assert {path.name for path in site.iterdir() if path.is_dir() and path.suffix != ".dist-info"} >= {"screener"}
    for foreign in ("export", "tests", "bench", "tools"):
        assert not (site / foreign).exists()
    metadata = next(site.glob("screener-*.dist-info"))
    assert (metadata / "licenses/LICENSE").exists()
    assert "screener = screener.cli.main:main" in (metadata / "entry_points.txt").read_text()
