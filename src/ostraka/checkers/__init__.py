"""Checkers of recorded histories: pure, for the simulator and for the systems of others."""
