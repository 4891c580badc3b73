"""The deterministic state machine with etcd's semantics: revisions, ranges, sessions, members, a digest.

Pure: the same entries give the same table and the same replies on every replica.
"""
