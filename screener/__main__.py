"""``python -m screener``."""

from __future__ import annotations

from screener.cli.main import main

if __name__ == "__main__":
    main()
