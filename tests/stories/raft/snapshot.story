# n3 was away for so long that the others no longer have the entries that it lacks. (§7)
nodes 3
settings tail=2 compact_every=1
hide Append Appended losses saves answers

elect 1
flush 1
flush 2
flush 3

only 1 2
propose 1 a
propose 1 b
advance 5
propose 1 c
heartbeat 1
log 1 2 3
---
n2 commits 1.1 noop
n1 commits 1.2 "a"
n2 commits 1.2 "a"
n1 commits 1.3 "b"
n1 compacts below 2
n2 commits 1.3 "b"
n2 compacts below 2
n1 commits 1.4 "c"
n1 compacts below 3
n2 commits 1.4 "c"
n2 compacts below 3
n1: b, c
n2: b, c
n3: noop

# n1 offers the state that it holds, n3 pulls it beside the engine, and goes on from there.
heal
heartbeat 1
heartbeat 1
state 1 3
---
n1 holds snapshot 1.4
n1 → n3 SnapshotOffer(term=1, meta=snapshot 1.4)
n3 pulls snapshot 1.4
n3 installs snapshot 1.4
n3 compacts below 5
n1: a b c
n3: a b c

# After a restart the log begins where the state ends.
restart 3
propose 1 d
heartbeat 1
state 1 3
---
n3 crashes
n3 starts
n1 commits 1.5 "d"
n1 compacts below 4
n2 commits 1.5 "d"
n2 compacts below 4
n3 commits 1.5 "d"
n1: a b c d
n3: a b c d
