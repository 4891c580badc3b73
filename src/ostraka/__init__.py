"""Ostraka: a distributed, transactional key-value database whose consensus is a part you choose."""

__version__ = "0.1.0"
