"""Pseudonyms: the same for the same name, other ones under another key, and nothing left of the name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.domain.slice import Identity, Reason, Refused
from screener.inbox import Entry, FileBytes
from screener.privacy import Pseudonyms
from tests.conftest import Command, write_slice

parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
keys = st.binary(min_size=16, max_size=40)


def renamed(key: bytes, path: str, patient: str | None, *, files: bool = True) -> tuple[str, str | None]:
    item = Pseudonyms(key, files).rename(Entry(Path("/x"), path, patient))
    assert isinstance(item, Entry)
    assert item.file == Path("/x")  # what is read stays what it was
    return item.path, item.patient_id


@given(keys, paths)
def test_the_shape_of_a_path_stays_and_nothing_else(key: bytes, path: str) -> None:
    patient = path.split("/", maxsplit=1)[0]
    hidden, pseudonym = renamed(key, path, patient)
    assert hidden.count("/") == path.count("/")
    assert all(re.fullmatch("[0-9a-f]{20}", part) for part in hidden.split("/"))
    assert hidden.split("/")[0] == pseudonym  # the patient's folder and the patient are one
    assert renamed(key, path, patient) == (hidden, pseudonym)


@given(keys, st.sets(paths, min_size=2, max_size=20))
def test_no_two_paths_become_one(key: bytes, names: set[str]) -> None:
    assert len({renamed(key, name, None) for name in names}) == len(names)


@given(st.sets(keys, min_size=2, max_size=2), paths)
def test_another_key_gives_other_names(two: set[bytes], path: str) -> None:
    one, other = two
    # HMAC pads short keys with zero bytes.
    if one.rstrip(b"\0") != other.rstrip(b"\0"):
        assert renamed(one, path, None) != renamed(other, path, None)


@given(keys, paths)
def test_a_refusal_is_renamed_like_a_slice(key: bytes, path: str) -> None:
    refused = Pseudonyms(key, files=True).rename(Refused(Identity(path, "", "p"), Reason.UNREADABLE, "why"))
    assert isinstance(refused, Refused)
    assert (refused.identity.path, refused.identity.patient_id) == renamed(key, path, "p")


def test_what_a_header_says_is_hidden_and_what_a_folder_named_is_not_hidden_twice() -> None:
    pseudonyms = Pseudonyms(b"k" * 16)
    folder = pseudonyms.name("DUPONT")
    named = Identity("x/1.dcm", "00", folder, study_id=folder, series_id=None)
    said = replace(named, patient_id="P7", series_id="1.2.9", accession_number="A1", study_date="20260102")
    for item in (FileBytes(said, b""), Refused(said, Reason.LOCALIZER)):
        hidden = pseudonyms.rename_header(item, named).identity
        assert hidden.study_id == folder
        assert hidden.patient_id == pseudonyms.name("P7")
        assert hidden.series_id == pseudonyms.name("1.2.9")
        assert hidden.accession_number == pseudonyms.name("A1")
        assert hidden.study_date == pseudonyms.name("20260102")
    nothing = pseudonyms.rename_header(FileBytes(named, b""), named).identity
    assert (nothing.series_id, nothing.accession_number, nothing.study_date) == (None, None, None)


def test_file_names_stay_unless_asked() -> None:
    assert renamed(b"k" * 16, "folder/a.png", None, files=False)[0].endswith("/a.png")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "site.key"
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    return path


def hidden_paths(screener: Command, inbox: Path, key: Path) -> list[str]:
    done = screener.scan(inbox, "--pseudonymise", key, "--redact-paths", "--json", "--level", "slice")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["path"] for line in done.stdout.splitlines()]


def test_the_dry_run_says_whose_pseudonyms_they_are(screener: Command, inbox: Path, key: Path) -> None:
    message = screener("scan", inbox, "--dry-run", "--pseudonymise", key, "--redact-paths").stdout.splitlines()[:-1]
    assert not screener.state.exists()
    pairs = dict(line.removeprefix("taken").strip().split("  = ") for line in message)
    assert list(pairs) == ["p0/0.png", "p0/1.png", "p1/2.png", "p1/3.png"]
    assert list(pairs.values()) == hidden_paths(screener, inbox, key)


def test_what_was_judged_is_known_again_under_the_same_key_only(screener: Command, inbox: Path, key: Path) -> None:
    first = hidden_paths(screener, inbox, key)
    assert hidden_paths(screener, inbox, key) == first
    assert len(screener.events()) == 4
    key.write_bytes(b"another key, of as many bytes...")
    assert not set(hidden_paths(screener, inbox, key)) & set(first)
    assert len(screener.events()) == 8


def test_two_inboxes_do_not_become_one(screener: Command, inbox: Path, key: Path, tmp_path: Path) -> None:
    other = write_slice(tmp_path / "other/p0/0.png", 7).parents[1]
    for folder in (inbox, other, inbox):
        hidden_paths(screener, folder, key)
    names = [start["inbox"] for start in screener.events("START")]
    assert names[0] == names[2] != names[1]
    assert not any(str(tmp_path) in name for name in names)


def test_the_page_holds_no_name_and_stays_out_of_the_inbox(screener: Command, tmp_path: Path, key: Path) -> None:
    inbox = write_slice(tmp_path / "Clinic/DUPONT Jean/axial.png", bright=True).parents[1]
    hide = ("--pseudonymise", key, "--redact-paths")
    page = tmp_path / "page.html"
    assert screener.scan(inbox, *hide, "--report", page).returncode == 0
    assert not re.search("dupont|jean|axial|clinic", page.read_text(), re.IGNORECASE)
    assert "<svg" in page.read_text()  # its picture came along
    inside = screener.scan(inbox, *hide, "--rescan", "--report", inbox / "page.html")
    assert inside.returncode == 2
    assert not (inbox / "page.html").exists()
