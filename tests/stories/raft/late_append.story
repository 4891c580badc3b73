# A message is delivered twice, the second time after a later one. It takes nothing away: only what conflicts is
# removed, and n2 has acknowledged what came later. (§5.3; Figure 2, AppendEntries 3)
nodes 5
settings linger=0
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1
heartbeat 1

# "a" and "b" are on n1 and n2 only, which is no majority of five: neither is committed.
only 1 2
hold Append
propose 1 a
propose 1 b
deliver Append keep
log 2
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n2: noop, a, b

deliver Append first
log 2
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n2: noop, a, b

# A crash of n2 does not bring it about either: nothing was cut on its disk.
restart 2
log 2
---
n2 crashes
n2 starts
n2: noop, a, b
