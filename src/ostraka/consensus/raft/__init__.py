"""Raft, readable beside its paper.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version, 2014), and
          Ongaro's thesis, "Consensus: Bridging Theory and Practice" (2014).

Read in this order: messages, roles, leadership (§5.2), agreement (§5.3, §5.4), reads (thesis §6.4), requests (§8),
checkpoint (§7), membership (§6), restore, refill, and replica, which holds the state and the turn. What must always be
true is in invariants (Figure 3).
"""

from __future__ import annotations

from ostraka.consensus.raft.messages import RaftMessage, RaftRecord
from ostraka.consensus.raft.restore import restore
from ostraka.model.engine import Consensus

RAFT = Consensus(name="raft", message=RaftMessage, record=RaftRecord, restore=restore, refills=True)
"""Raft, as the node sees it."""
