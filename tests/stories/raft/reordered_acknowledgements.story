# Acknowledgements overtake one another. matchIndex only grows: a late one takes nothing back. (Figure 2)
nodes 3
settings linger=0
hide AskPreVote PreVote RequestVote Vote saves losses

elect 1
heartbeat 1

only 1 2
hold Appended
propose 1 a
propose 1 b
propose 1 c
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=1, round=0)
n1 → n2 Append(term=1, prev=1.3, entries=[1.4 "c"], commit=1, round=0)

deliver Appended last
---
n2 → n1 Appended(term=1, ok=True, match=4, round=0)
n1 commits 1.2 "a"
n1 commits 1.3 "b"
n1 commits 1.4 "c"
n1 a: committed at 2
n1 b: committed at 3
n1 c: committed at 4

# What n2 said before says less. n1 goes on telling n2 that all of it is committed.
deliver Appended
free
heartbeat 1
---
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 → n2 Append(term=1, prev=1.4, entries=[], commit=4, round=0)
n2 commits 1.2 "a"
n2 commits 1.3 "b"
n2 commits 1.4 "c"
n2 → n1 Appended(term=1, ok=True, match=4, round=0)
