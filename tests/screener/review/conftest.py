"""What the tests of reviews share."""

from __future__ import annotations

from review_night import night

__all__ = ["night"]
