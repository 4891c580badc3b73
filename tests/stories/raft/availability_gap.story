# A fourth server is added while one of three is slow. If it counted at once, with an empty log, the slow one
# would be needed for each commit until the new one has caught up. So it learns first, and requests go on
# being committed. (Thesis §4.2.1, Figure 4.4)
nodes 3
spare 1
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1
propose 1 a
only 1 2 4

# n4 is asked for as a voter, and what is sent to it is on its way.
hold Append to 4
change 1 1 2 3 4
members 1
---
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 members 1 2 3 learning 4], commit=2, round=0)
n2 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 commits 1.3 members 1 2 3 learning 4
n1: members 1 2 3 learning 4

# A majority of three commits: n1 and n2.
propose 1 b
---
n1 → n2 Append(term=1, prev=1.3, entries=[1.4 "b"], commit=3, round=0)
n2 commits 1.3 members 1 2 3 learning 4
n2 → n1 Appended(term=1, ok=True, match=4, round=0)
n1 commits 1.4 "b"
n1 b: committed at 4

# n4 catches up, and then it counts: three of four are needed, and they are there.
free
deliver Append to 4
heartbeat 1
members 1 4
---
n1 → n4 Append(term=1, prev=1.2, entries=[1.3 members 1 2 3 learning 4], commit=2, round=0)
n4 follower, term 1
n4 → n1 Appended(term=1, ok=False, match=2, round=0, conflict=0.1)
n1 → n4 Append(term=1, prev=0.0, entries=[1.1 noop, 1.2 "a", 1.3 members 1 2 3 learning 4, 1.4 "b"], commit=4, round=0)
n4 commits 1.1 noop
n4 commits 1.2 "a"
n4 commits 1.3 members 1 2 3 learning 4
n4 commits 1.4 "b"
n4 → n1 Appended(term=1, ok=True, match=4, round=0)
n1 → n2 Append(term=1, prev=1.4, entries=[1.5 members 1 2 3 4], commit=4, round=0)
n2 commits 1.4 "b"
n1 → n4 Append(term=1, prev=1.4, entries=[1.5 members 1 2 3 4], commit=4, round=0)
n2 → n1 Appended(term=1, ok=True, match=5, round=0)
n4 → n1 Appended(term=1, ok=True, match=5, round=0)
n1 wants members 1 2 3 4: done
n1 commits 1.5 members 1 2 3 4
n1 → n2 Append(term=1, prev=1.5, entries=[], commit=5, round=0)
n2 commits 1.5 members 1 2 3 4
n1 → n4 Append(term=1, prev=1.5, entries=[], commit=5, round=0)
n4 commits 1.5 members 1 2 3 4
n2 → n1 Appended(term=1, ok=True, match=5, round=0)
n4 → n1 Appended(term=1, ok=True, match=5, round=0)
n1: members 1 2 3 4
n4: members 1 2 3 4
