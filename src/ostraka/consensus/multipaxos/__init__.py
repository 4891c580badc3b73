"""Multi-Paxos, readable beside its papers: slots with holes, one promise for the whole log.

Follows:  Lamport, "Paxos Made Simple" (2001); van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015, PMMC);
          Chandra, Griesemer and Redstone, "Paxos Made Live" (2007).

Read in this order: messages, log, roles, leadership (phase 1), agreement (phase 2), reads, requests, checkpoint,
membership (α), handover, restore, and replica, which holds the state and the turn. What must always be true is in
invariants.
"""

from __future__ import annotations

from ostraka.consensus.multipaxos.messages import MultiPaxosMessage, MultiPaxosRecord
from ostraka.consensus.multipaxos.restore import restore
from ostraka.model.engine import Consensus

MULTIPAXOS = Consensus(name="multipaxos", message=MultiPaxosMessage, record=MultiPaxosRecord, restore=restore)
"""Multi-Paxos, as the node sees it."""
