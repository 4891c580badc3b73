"""The benchmarks are scripts beside the package, so their directory is not on the path by itself."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
