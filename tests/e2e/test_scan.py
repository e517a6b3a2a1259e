"""``screener scan`` as its users run it: results, exit codes, the log, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from screener.audit import verify
from tests.conftest import Command, many, tiny_card, tiny_graph, write_model, write_slice

if TYPE_CHECKING:
    from collections.abc import Iterator


def results(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    """Return what is told of slices."""
    return [line for line in map(json.loads, done.stdout.splitlines()) if line["level"] == "slice"]


def test_flags_what_the_model_flags(screener: Command, inbox: Path) -> None:
    done = screener.scan(inbox, "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    found = {line["path"]: line for line in results(done)}
    assert list(found) == ["p0/0.png", "p0/1.png", "p1/2.png", "p1/3.png"]  # scan order
    assert [line["decision"] for line in found.values()] == ["flagged", "not_flagged"] * 2
    assert {line["patient_id"] for line in found.values()} == {"p0", "p1"}
    assert len(screener.events()) == 4
    start, end = screener.events("START")[0], screener.events("END")[0]
    assert start["operating_point"] == "auto"
    assert end["reason"] == "complete"
    assert end["counts"]["flagged"] == 2


def test_table_is_in_reading_order_and_says_what_the_threshold_is_worth(screener: Command, inbox: Path) -> None:
    done = screener.scan(inbox, "--lang", "en", "--level", "slice")
    rows = [line for line in done.stdout.splitlines() if ".png" in line]
    assert [row.split()[0] for row in rows] == ["HIGH", "HIGH", "LOW", "LOW"]
    assert "auto: certified for sensitivity ≥ 0.95 at 95 % confidence: 0 of 60 patients" in done.stdout
    assert "9/10 slices, 5 patients or groups" in done.stdout
    assert "Decision aid. Not a diagnosis" in done.stdout
    assert done.stderr == ""


def test_french(screener: Command, inbox: Path) -> None:
    screener.environment["LC_ALL"] = "fr_FR.UTF-8"
    shown = screener.scan(inbox).stdout
    assert "TUMEUR SUSPECTÉE – HAUTE" in shown
    assert "ni CE ni FDA" in shown
    assert results(screener.scan(inbox, "--json"))[0]["recommendation"].startswith("SUSPECTED")  # type: ignore[attr-defined]


def test_top_hides_and_counts(screener: Command, inbox: Path) -> None:
    shown = screener.scan(inbox, "--top", 1, "--lang", "en", "--level", "slice").stdout
    assert sum(".png" in line for line in shown.splitlines()) == 1
    assert "3 more not shown" in shown
    assert "4 slices: 2 HIGH" in shown


def test_limit_and_quiet(screener: Command, inbox: Path) -> None:
    done = screener.scan(inbox, "--limit", 2, "--quiet")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert len(screener.events()) == 2


def test_second_run_scores_nothing_again(screener: Command, inbox: Path) -> None:
    first = results(screener.scan(inbox, "--json"))
    again = results(screener.scan(inbox, "--json"))
    assert [line | {"seen_before": True} for line in first] == again
    assert len(screener.events()) == 4
    rescanned = results(screener.scan(inbox, "--json", "--rescan"))
    assert not any(line["seen_before"] for line in rescanned)
    assert len(screener.events()) == 8


def test_another_threshold_judges_anew_with_the_old_score(screener: Command, inbox: Path) -> None:
    first = results(screener.scan(inbox, "--json"))
    strict = results(screener.scan(inbox, "--json", "--threshold", "1"))
    assert [line["probability"] for line in first] == [line["probability"] for line in strict]
    assert {line["operating_point"] for line in strict} == {"custom"}
    assert {line["decision"] for line in strict} == {"not_flagged"}
    assert len(screener.events()) == 8


def test_same_bytes_elsewhere_are_another_slice(screener: Command, inbox: Path) -> None:
    screener.scan(inbox)
    shutil.copy(inbox / "p0/0.png", inbox / "p1/copy.png")
    found = results(screener.scan(inbox, "--json"))
    assert [line["path"] for line in found if not line["seen_before"]] == ["p1/copy.png"]
    assert [event["path"] for event in screener.events()][-1] == "p1/copy.png"


NAMES = ["with space.png", "new\nline.png", "[red]markup[/].png", "-rf.png", "é.png", "no_ending", "wrong.txt"]


def test_odd_names_are_scored_like_any_other(screener: Command, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    slice_ = write_slice(folder / "plain.png", bright=True)
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(slice_, folder / name)
    shutil.copy(slice_, os.fsencode(folder) + b"/\xff\xfe.png")
    found = results(screener.scan(folder, "--json"))
    assert len(found) == len(NAMES) + 2
    assert {line["decision"] for line in found} == {"flagged"}
    shown = screener.scan(folder, "--lang", "en").stdout
    assert "[red]markup[/].png" in shown
    assert "new\nline" not in shown
    assert verify(screener.log).ok


def _kinds() -> Iterator[tuple[str, bytes]]:
    from PIL import Image  # Pillow comes with matplotlib; OpenCV writes neither CMYK nor EXIF

    image = cv2.imdecode(
        np.fromfile(write_slice(Path(os.environ["SLICE"]), bright=True), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    yield "deep.png", cv2.imencode(".png", image.astype(np.uint16) << 4)[1].tobytes()
    yield "alpha.png", cv2.imencode(".png", np.dstack([colour, np.full_like(image, 255)]))[1].tobytes()
    yield "colour.jpg", cv2.imencode(".jpg", colour)[1].tobytes()
    import io

    for name, mode, exif in (("cmyk.jpg", "CMYK", None), ("turned.jpg", "L", 6)):
        out, tags = io.BytesIO(), Image.Exif()
        if exif:
            tags[0x0112] = exif
        Image.fromarray(colour[:, :, ::-1]).convert(mode).save(out, "JPEG", exif=tags)
        yield name, out.getvalue()


def test_every_kind_of_picture_is_scored(screener: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLICE", str(tmp_path / "source.png"))
    folder = tmp_path / "kinds"
    folder.mkdir()
    for name, data in _kinds():
        (folder / name).write_bytes(data)
    found = results(screener.scan(folder, "--json"))
    assert len(found) == 5
    assert all(line["probability"] is not None for line in found), found


def test_damaged_files_get_a_reason_and_the_run_goes_on(screener: Command, inbox: Path) -> None:
    whole = (inbox / "p0/0.png").read_bytes()
    (inbox / "p0/empty.png").write_bytes(b"")
    (inbox / "p0/half.png").write_bytes(whole[: len(whole) // 2])
    (inbox / "p0/text.jpg").write_text("not an image")
    (inbox / "p0/dark.png").write_bytes(cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes())
    done = screener.scan(inbox, "--json")
    reasons = {line["path"]: line["reason"] for line in results(done) if line["reason"]}
    assert done.returncode == 4
    assert reasons == {
        "p0/empty.png": "empty_file",
        "p0/half.png": "corrupt",
        "p0/text.jpg": "unsupported_type",
        "p0/dark.png": "blank",
    }
    assert all(line["urgency"] == "REVIEW" for line in results(done) if line["reason"])


def test_a_score_that_is_no_number_goes_to_a_person(screener: Command, inbox: Path, tmp_path: Path) -> None:
    graph = tiny_graph()
    graph.graph.node[3].op_type = "Log"  # the logarithm of a negative number
    model = write_model(tmp_path / "nan", graph=graph)
    done = screener("scan", inbox, "--model", model, "--json")
    assert done.returncode == 4
    assert "non_finite_score" in {line["reason"] for line in results(done)}
    assert all(line["probability"] is None or 0 <= line["probability"] <= 1 for line in results(done))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{inbox}", "--threshold", "1.5"], 2),
        (["{inbox}", "--threshold", "nan"], 2),
        (["{inbox}", "--threshold", "often"], 2),
        (["{inbox}", "--lang", "xx"], 2),
        (["{inbox}", "--isolate", "maybe"], 2),
        (["{inbox}", "--patient-regex", "("], 2),
        (["{inbox}", "--log", "{inbox}/log.jsonl"], 2),
        (["{inbox}/p0/0.png"], 3),
        (["{tmp}/missing"], 3),
        (["{tmp}/empty"], 3),
        (["{inbox}", "--model", "{tmp}/missing.onnx"], 7),
        (["{inbox}", "--model", "{tmp}/junk.onnx"], 7),
        (["{inbox}", "--model", "{tmp}/foreign/model.onnx"], 7),
        (["{inbox}", "--model", "{tmp}/tampered"], 7),
    ],
)
def test_bad_input_is_reported_before_the_log_is_touched(
    screener: Command, inbox: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.onnx").write_bytes(os.urandom(500))
    write_model(tmp_path / "foreign")
    foreign = tiny_graph()
    (tmp_path / "foreign/model.onnx").write_bytes(foreign.SerializeToString())
    (tmp_path / "foreign/SHA256SUMS").unlink()
    tampered = write_model(tmp_path / "tampered")
    (tampered / "model.onnx").write_bytes((tampered / "model.onnx").read_bytes() + b"\0")
    given = [part.format(inbox=inbox, tmp=tmp_path) for part in arguments]
    if "--model" not in given:
        given += ["--model", str(screener.model)]
    done = screener("scan", *given)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1
    assert not screener.log.exists()


def test_a_log_that_cannot_be_written(screener: Command, inbox: Path, tmp_path: Path) -> None:
    done = screener.scan(inbox, "--log", tmp_path / "missing/audit.jsonl")
    assert done.returncode == 6
    assert "hint: " in done.stderr


def test_files_still_being_written_are_left_for_later(screener: Command, inbox: Path) -> None:
    fresh = write_slice(inbox / "p1/fresh.png")
    done = threading.Event()

    def write_on() -> None:
        while not done.wait(0.05):
            fresh.touch()

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        # The others age by themselves: their change time cannot be set back.
        time.sleep(1.2)
        found = screener.scan(inbox, "--settle", "1", "--json")
    finally:
        done.set()
        writer.join()
    assert found.returncode == 5
    assert "p1/fresh.png" not in {line["path"] for line in results(found)}
    assert len(results(found)) == 4


@pytest.mark.long
def test_sigterm_ends_after_the_batch_and_the_next_run_goes_on(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 3000)
    command = screener.arguments("scan", inbox, "--model", screener.model, "--json", "--level", "slice")
    process = subprocess.Popen(command, env=screener.env(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 8
    assert screener.events("END")[-1]["reason"] == "interrupted"
    assert 0 < len(screener.events()) < 3000
    assert screener.scan(inbox, "--quiet").returncode == 0
    assert len({event["path"] for event in screener.events()}) == len(screener.events()) == 3000


def _kill_and_go_on(screener: Command, inbox: Path, kills: int, wait: np.random.Generator) -> None:
    """Kill scans at random moments, then let one end; every slice must have exactly one RESULT."""
    for _ in range(kills):
        command = screener.arguments("scan", inbox, "--model", screener.model, "--quiet")
        process = subprocess.Popen(command, env=screener.env())
        time.sleep(wait.uniform(0.3, 1.1))
        process.kill()
        process.wait()
    assert screener.scan(inbox, "--quiet").returncode == 0
    paths = [event["path"] for event in screener.events()]
    assert len(paths) == len(set(paths)) == sum(1 for _ in inbox.iterdir())
    assert verify(screener.log).ok


@pytest.mark.long
def test_ten_kills_lose_and_double_nothing(screener: Command, tmp_path: Path) -> None:
    _kill_and_go_on(screener, many(tmp_path / "many", 2000), 10, np.random.default_rng(1))


@pytest.mark.long
def test_two_hundred_kills_lose_and_double_nothing(screener: Command, tmp_path: Path) -> None:
    _kill_and_go_on(screener, many(tmp_path / "many", 20_000), 200, np.random.default_rng(2))


def test_no_socket_no_tensorflow_no_bench(screener: Command, inbox: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys, atexit\n"
        "def watch(event, args):\n"
        "    if event.startswith('socket.'):\n"
        "        sys.stderr.write('SOCKET ' + event)\n"
        "sys.addaudithook(watch)\n"
        "bad = ('tensorflow', 'keras', 'export')\n"
        "atexit.register(lambda: sys.stderr.write(' '.join('LOADED ' + n for n in bad if n in sys.modules)))\n"
    )
    screener.environment["PYTHONPATH"] = str(hook)
    done = screener.scan(inbox, "--json")
    assert done.returncode == 0
    assert done.stderr == ""


def test_two_scans_on_one_log_exclude_each_other(screener: Command, tmp_path: Path) -> None:
    inbox = many(tmp_path / "many", 3000)
    command = screener.arguments("scan", inbox, "--model", screener.model, "--json", "--level", "slice")
    with subprocess.Popen(command, env=screener.env(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        second = screener.scan(inbox)
        process.terminate()
        process.communicate(timeout=60)
    assert second.returncode == 6
    assert str(process.pid) in second.stderr


def test_a_gate_in_the_card_refuses_strangers(screener: Command, inbox: Path, tmp_path: Path) -> None:
    card = tiny_card(outputs={"probability": "probability", "heatmap": None, "embedding": "heatmap"})
    graph = tiny_graph()
    graph.graph.node[-1].input[1] = "pair"
    graph.graph.initializer.append(onnx_array("pair"))
    shape = graph.graph.output[1].type.tensor_type.shape
    del shape.dim[2]
    shape.dim[1].dim_value = 4
    card["embedding_reference"] = {"cutoff": 1e-3, "centres": [[9.0, 9.0, 9.0, 9.0]]}
    done = screener("scan", inbox, "--model", write_model(tmp_path / "gated", card, graph), "--json")
    assert {line["reason"] for line in results(done)} == {"not_a_brain_mri"}


def onnx_array(name: str) -> object:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array([-1, 4], np.int64), name)


def _until_closed(terminal: int) -> Iterator[bytes]:
    """Read a terminal until its other side is closed, which Linux tells with an error."""
    while True:
        try:
            yield os.read(terminal, 1 << 16)
        except OSError:
            return


def test_a_terminal_sees_progress_and_a_pipe_does_not(screener: Command, tmp_path: Path) -> None:
    import pty

    inbox = many(tmp_path / "many", 300)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        screener.arguments("scan", inbox, "--model", screener.model, "--json", "--level", "slice"),
        env={**screener.env(), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: shown.extend(_until_closed(master)))
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join()
    os.close(master)
    seen = b"".join(shown).decode()
    assert "Screening" in seen
    assert "/s" in seen
    assert len(out.splitlines()) == 300
    assert b"Screening" not in out


def test_precision(screener: Command, inbox: Path) -> None:
    plain = results(screener.scan(inbox, "--json", "--rescan"))
    assert results(screener.scan(inbox, "--json", "--rescan", "--precision", "fp32")) == plain
    done = screener.scan(inbox, "--precision", "int8")
    assert (done.returncode, done.stdout) == (7, "")
    assert "error: no int8 variant" in done.stderr
    done = screener.scan(inbox, "--precision", "fp8")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(screener.events()) == 8  # neither of them touched the log
