"""``screener listen``: receive studies by the DICOM network and screen them, until it is stopped."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, cast

from screener.cli.service import ServiceSettings, checked_inbox, serve
from screener.errors import UsageError
from screener.pipeline.config import ScanConfig

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from screener.errors import ExitCode
    from screener.pacs.receive import ReceiverOptions


def run_command(given: Mapping[str, object]) -> ExitCode:
    """Listen as the options of the command say, by their names.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.pacs.arrivals import Arrivals
    from screener.pacs.receive import Receiver
    from screener.pacs.storage import InstanceStore

    inbox = checked_inbox(cast("Path", given["inbox"]))
    config = ScanConfig.from_options(given)
    settings = ServiceSettings.of("listen", given)
    arrivals = Arrivals(settings.quiet)
    store = InstanceStore(inbox, min_free=cast("int", given["min_free"]) << 20)
    receiver = Receiver(store, arrivals, _options(given))

    def begin(stack: ExitStack) -> Receiver:
        return stack.enter_context(receiver)

    return serve(inbox, config, settings, arrivals, begin, lock=store.lock)


def _options(given: Mapping[str, object]) -> ReceiverOptions:
    from screener.pacs.receive import ReceiverOptions

    options = cast("dict[str, Any]", given)
    found = ReceiverOptions(
        ae_title=options["ae_title"],
        host=options["host"],
        port=options["port"],
        calling=frozenset(options["calling_ae"] or ()),
        addresses=frozenset(options["calling_address"] or ()),
        associations=options["associations"],
        timeout=options["timeout"],
        on_release=options["on_release"],
        tls=_tls(options["tls_cert"], options["tls_key"], options["tls_ca"]),
    )
    if not (_is_own(found.host) or found.calling or found.tls):
        raise UsageError(
            f"whoever reaches {found.host} could send",
            "name the senders with --calling-ae, or demand certificates with --tls-ca",
        )
    return found


def _tls(certificate: Path | None, key: Path | None, authority: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None and authority is None:
        return None
    if certificate is None or key is None or authority is None:
        raise UsageError("TLS needs three files", "give --tls-cert, --tls-key and --tls-ca together")
    from screener.pacs.receive import tls_context

    return tls_context(certificate, key, authority)


def _is_own(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
