"""The engines that there are, by the names that flags, hellos and data directories know them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ostraka.consensus.multipaxos import MULTIPAXOS
from ostraka.consensus.raft import RAFT
from ostraka.model.engine import Consensus

ENGINES: Final[Mapping[str, Consensus]] = {engine.name: engine for engine in (RAFT, MULTIPAXOS)}
