"""Seeds that once failed, each with what they showed. They run for ever."""

from __future__ import annotations

KEPT: dict[int, str] = {}
