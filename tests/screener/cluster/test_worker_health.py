"""What the terminal shows of the workers."""

from __future__ import annotations

import io
import time

from rich.console import Console

from screener.cluster.dask_workers import WorkerHealth
from screener.cluster.health import TEXT, health_table


def shown(workers: list[WorkerHealth], lang: str = "en") -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(health_table(workers, lang))  # type: ignore[arg-type]
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def worker(number: int, ago: float, trouble: str | None = None) -> WorkerHealth:
    moment = time.monotonic() - ago
    return WorkerHealth(f"tcp://host:{number}", 1, 3, 96, moment, cpu=97.6, memory=250_000_000, trouble=trouble)


def test_who_needs_a_look_comes_first() -> None:
    rows = shown([worker(1, 2), worker(2, 50), worker(3, 4, "has another version of screener")])
    assert [row.split()[0] for row in rows[1:]] == ["tcp://host:3", "tcp://host:2", "tcp://host:1"]
    assert "has another version of screener" in rows[1]
    assert "96" in rows[2]
    assert "50 s ago" in rows[2]
    assert "98 %" in rows[2]
    assert "250 MB" in rows[2]
    assert rows[2].rstrip().endswith("working")


def test_many_workers_are_counted_and_not_all_shown() -> None:
    rows = shown([worker(number, number) for number in range(40)])
    assert len(rows) < 20
    assert any("24 more workers" in row for row in rows)
    assert any("tcp://host:39" in row for row in rows)


def test_french_and_markup_of_a_worker_is_text() -> None:
    rows = shown([worker(1, 2, "[red]\x1b[31mtrouble")], "fr")
    assert "Nœud de calcul" in rows[0]
    assert "[red]" in rows[1]
    assert "\x1b" not in rows[1]
    assert TEXT["fr"]["left_out"].startswith("écarté")
