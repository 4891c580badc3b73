"""Ostraka against etcd on this machine: `.venv/bin/python benchmarks/run.py --help` says the rest."""

import sys

from versus.main import main

if __name__ == "__main__":
    sys.exit(main())
