"""Addresses of clusters: what cannot be used is told at once, before anything is written."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("distributed")
from screener.cluster.dask_workers import DaskWorkers
from screener.errors import ClusterError, ExitCode, UsageError
from tests.screener.cluster.fake_workers import QUESTION


def message(address: str) -> str:
    with pytest.raises(ClusterError) as caught, DaskWorkers(address, QUESTION, print):
        pass
    assert caught.value.code is ExitCode.CLUSTER
    assert "cluster.md" in caught.value.hint
    return str(caught.value)


def test_where_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert "refused" in message(f"tcp://127.0.0.1:{port}")
    assert "refused" in message(f"tls://127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "tls://:8786", "tcp://127.0.0.1:port", "pigeon://loft"])
def test_what_is_no_address(address: str) -> None:
    assert f"the scheduler {address} cannot be used" in message(address)


@pytest.mark.parametrize("address", ["local:", "local:0", "local:-1", "local:many"])
def test_a_number_of_processes_that_is_none(address: str) -> None:
    with pytest.raises(UsageError, match=r"--cluster 'local:"), DaskWorkers(address, QUESTION, print):
        pass
