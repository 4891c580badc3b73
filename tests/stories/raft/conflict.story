# A leader cut off goes on writing for a while. Its successor's log replaces what it wrote. (§5.3)
nodes 3
hide losses AskPreVote PreVote discards saves

elect 1

only 1
propose 1 a
advance 5
propose 1 b
log 1
---
n1: noop, a, b

only 2 3
elect 2
propose 2 c
log 2
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n2 → n3 RequestVote(term=2, last=1.1)
n3 follower, term 2
n3 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.1, entries=[2.2 noop], commit=0, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 commits 1.1 noop
n2 commits 2.2 noop
n2 → n3 Append(term=2, prev=2.2, entries=[2.3 "c"], commit=2, round=0)
n3 commits 1.1 noop
n3 commits 2.2 noop
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 commits 2.3 "c"
n2 c: committed at 3
n2: noop, noop, c

# n2 finds where the logs part: n1 has an entry of another term there.
heal
heartbeat 2
log 1 2 3
---
n2 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n1 leader → follower, term 2
n1 a: lost
n1 b: lost
n2 → n3 Append(term=2, prev=2.3, entries=[], commit=3, round=0)
n3 commits 2.3 "c"
n1 → n2 Appended(term=2, ok=True, match=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 → n1 Append(term=2, prev=1.1, entries=[2.2 noop, 2.3 "c"], commit=3, round=0)
n1 commits 2.2 noop
n1 commits 2.3 "c"
n1 → n2 Appended(term=2, ok=True, match=3, round=0)
n1: noop, noop, c
n2: noop, noop, c
n3: noop, noop, c

# What n1 had written itself is gone from its disk as well.
restart 1
log 1
---
n1 crashes
n1 starts
n1: noop, noop, c
