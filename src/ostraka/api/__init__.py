"""The etcd v3 messages and services: our own texts with etcd's names and numbers, in a private descriptor pool."""
