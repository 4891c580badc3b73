"""Ostraka beside a real etcd: the same requests, and the same answers."""
