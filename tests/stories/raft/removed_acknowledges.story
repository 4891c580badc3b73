# n3 is removed while what it acknowledged is on its way. It counts for nothing any more: of n1 and n2 both are
# needed. (§6)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves losses

elect 1
heartbeat 1

hold Appended from 3
propose 1 a
change 1 1 2
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 commits 1.2 "a"
n1 a: committed at 2
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 members 1 2], commit=2, round=0)
n2 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 wants members 1 2: done
n1 commits 1.3 members 1 2

free
crash 2
propose 1 b
deliver Appended
committed 1
---
n2 crashes
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 discards, from n3: not a member
n1: 3
