# n1 holds no entry in memory that its state machine has got, and keeps three on disk behind what is durable there.
# n3 hears nothing for a while. First the disk has what it lacks. (Raft §5.3, §7)
nodes 3
settings max_held=1 tail=3 compact_every=1 linger=0
hide AskPreVote PreVote RequestVote Vote discards saves losses Appended commits answers

elect 1

propose 1 a

propose 1 b

flush 1

only 1 2
propose 1 c

propose 1 d

heal
heartbeat 1
state 3
---
n1 → n2 Append(term=1, prev=1.5, entries=[], commit=5, round=0)
n1 → n3 Append(term=1, prev=1.5, entries=[], commit=3, round=0)
n1 loads 4 to 5 from its disk
n1 → n3 Append(term=1, prev=1.3, entries=[1.4 "c", 1.5 "d"], commit=5, round=0)
n3: a b c d

# Later not even the disk has it any more, so n3 pulls a state,
only 1 2
propose 1 e

propose 1 f

propose 1 g

propose 1 h

heal
heartbeat 1 2
state 3
---
n1 → n2 Append(term=1, prev=1.9, entries=[], commit=9, round=0)
n1 → n3 Append(term=1, prev=1.9, entries=[], commit=5, round=0)
n1 holds snapshot 1.9
n1 → n2 Append(term=1, prev=1.9, entries=[], commit=9, round=0)
n1 → n3 Append(term=1, prev=0.0, entries=[], commit=5, round=0)
n1 → n3 SnapshotOffer(term=1, meta=snapshot 1.9)
n3 pulls snapshot 1.9
n3 installs snapshot 1.9
n3 compacts below 10
n3: a b c d e f g h

# and is back with the others.
propose 3 i
state 3
---
n3 → n1 Forward(term=1, number=1, requests="i")
n1 → n2 Append(term=1, prev=1.9, entries=[1.10 "i"], commit=9, round=0)
n1 → n3 Append(term=1, prev=1.9, entries=[1.10 "i"], commit=9, round=0)
n1 compacts below 8
n1 → n3 Append(term=1, prev=1.10, entries=[], commit=10, round=0)
n3: a b c d e f g h i
