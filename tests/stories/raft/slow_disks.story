# Nothing is promised before it is on disk, and nobody waits for one slow disk. (Thesis §10.2.1)
nodes 3

elect 1

# The leader's own disk is slow. Its followers save and acknowledge: a majority without n1.
delay_saves 1
propose 1 a
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 commits 1.1 noop
n2 saved Logged(entry=1.2 "a")
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n3 commits 1.1 noop
n3 saved Logged(entry=1.2 "a")
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n3 → n1 Appended(term=1, ok=True, match=2, round=0)

# They apply "a" as soon as they hear of it. n1 waits for its own disk: a crash must not leave it ahead of its log.
heartbeat 1
state 1 2 3
---
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n2 commits 1.2 "a"
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n3 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
n1: empty
n2: a
n3: a

save 1
state 1
---
n1 saved Logged(entry=1.2 "a")
n1 commits 1.2 "a"
n1 a: committed at 2
n1: a
