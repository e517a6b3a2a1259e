"""What `screener status` says, in English; French is in ``locale/fr``."""

from __future__ import annotations

from screener.catalogue import Catalogue

STATUS = Catalogue(
    "status",
    {
        "inbox": "inbox: {inbox}",
        "counts": "{answered} folders answered, {waiting} waiting, {late} of these for too long",
        "last": "last answer: {time}",
        "free": "free disk: {mebibytes} MiB",
        "waiting": "waiting: {folder}, {files} files, {minutes} minutes",
        "late": "TOO LONG: {folder}, {files} files, {minutes} minutes",
        "more": "and {count} more",
    },
)
