"""What the layers share: ids, requests, the events and effects of an engine, and the interfaces.

Pure: no I/O, no clock, no dice of its own.
"""
