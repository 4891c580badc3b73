"""Clients of a running cluster."""
