# "a" is committed, and n2, which leads next, doesn't know that: it must not answer a read before an entry of
# its own term is committed, even if a majority confirms at once that it leads. (§8; thesis §6.4, step 1)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1
propose 1 a

# n2 has "a", and has not heard that it is committed. Its no-op is held back.
crash 1
hold Append
elect 2
committed 2
read 2
---
n1 crashes
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n2: 1

# Its heartbeats go through, before the no-op does. The read waits for the latter.
drop Append
free
lose Append to 1
hold Append
heartbeat 2
deliver Append
deliver Append
committed 2
free
deliver Append
---
n2 → n3 Append(term=2, prev=1.2, entries=[], commit=0, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 → n3 Append(term=2, prev=1.2, entries=[2.3 noop], commit=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 commits 1.2 "a"
n2 commits 2.3 noop
n2: 3
n2 → n3 Append(term=2, prev=2.3, entries=[], commit=3, round=1)
n3 commits 1.2 "a"
n3 commits 2.3 noop
n3 → n2 Appended(term=2, ok=True, match=3, round=1)
n2 read: sees a
