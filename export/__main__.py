"""``python -m export``: the training bench's command line."""

from __future__ import annotations

from export.cli.main import main

if __name__ == "__main__":
    main()
