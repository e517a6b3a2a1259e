"""Batch triage of brain MRI slices on an ordinary CPU.

A decision aid: it orders a radiologist's reading, it never diagnoses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from screener.api import Screener
    from screener.domain.finding import Finding

__version__ = "0.1.0"
__all__ = ["Finding", "Screener", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562 hands out whatever the module exports
    """Import the API on first use, so that ``screener --version`` stays instant."""
    if name == "Screener":
        from screener.api import Screener

        return Screener
    if name == "Finding":
        from screener.domain.finding import Finding

        return Finding
    raise AttributeError(f"module 'screener' has no attribute {name!r}")
