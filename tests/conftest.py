"""What all tests share: a table that a test records is shown when the run is over, whichever process ran the test."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests give it by `record_property("table", text)`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "table" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line("")
                    terminalreporter.write_line(text)
