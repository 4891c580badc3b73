# A message is delivered twice, the second time after later ones. It takes nothing away: only what conflicts is
# removed, and n2 has acknowledged what came later. (§5.3; Figure 2, AppendEntries 3)
nodes 3
settings linger=0
hide AskPreVote PreVote RequestVote Vote saves discards commits

elect 1
heartbeat 1
only 1 2

hold Append to 2
propose 1 a
deliver Append keep
free
propose 1 b
heartbeat 1
log 2
---
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0) is lost
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 a: committed at 2
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=2, round=0)
n1 → n3 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=2, round=0) is lost
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 b: committed at 3
n1 → n2 Append(term=1, prev=1.3, entries=[], commit=3, round=0)
n1 → n3 Append(term=1, prev=1.3, entries=[], commit=1, round=0) is lost
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n2: noop, a, b

deliver Append
log 2
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n2: noop, a, b

# A crash of n2 does not bring it about either: nothing was cut on its disk.
restart 2
log 2
---
n2 crashes
n2 starts
n2: noop, a, b
