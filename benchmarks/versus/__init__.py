"""Ostraka measured against etcd. Bottom up: cluster, usage, report, driver, synccheck, main."""
