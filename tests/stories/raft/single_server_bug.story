# The bug in single-server changes that Ongaro announced in 2015. n1 makes n5 a voter, and is cut off with it; n2
# leads a later term and removes n1. If n2 could do that before an entry of its own term is committed, n1's
# majority of five and n2's of three might have no member in common. So n2 waits for its no-op.
nodes 4
spare 1
hide AskPreVote PreVote RequestVote Vote saves discards losses Appended

elect 1
change 1 1 2 3 4 learning 5
heartbeat 1

only 1 5
change 1 1 2 3 4 5
members 1 5
---
n1 → n5 Append(term=1, prev=1.2, entries=[1.3 members 1 2 3 4 5], commit=2, round=0)
n1: members 1 2 3 4 5
n5: members 1 2 3 4 5

# n2 leads term 2 by the votes of n3 and n4. It is asked to remove n1, and may not begin. With n3 it would have a
# majority of the new configuration, n2, n3, n4.
partition 1 5 | 2 3 4
elect 2 quietly
partition 1 4 5 | 2 3
change 2 2 3 4
heartbeat 2
members 2 3
committed 2 3
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n4 follower, term 2
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.2, entries=[], commit=0, round=0)
n2 → n3 Append(term=2, prev=1.2, entries=[2.3 noop], commit=2, round=0)
n2: members 1 2 3 4 learning 5
n3: members 1 2 3 4 learning 5
n2: 2
n3: 2

# For n4 and n5 may elect n1 again, a majority of five, and it may decide something else.
heartbeat 1
tire 4
tire 5
elect 1
members 1 4 5
committed 1
---
n1 → n4 Append(term=1, prev=1.3, entries=[], commit=2, round=0)
n1 → n5 Append(term=1, prev=1.3, entries=[], commit=2, round=0)
n1 leader → follower, term 2
n1 wants members 1 2 3 4 5: lost
n1 follower → pre-candidate, term 2
n1 pre-candidate → candidate, term 3
n4 follower, term 3
n5 follower, term 3
n1 candidate → leader, term 3
n1 → n4 Append(term=3, prev=1.3, entries=[3.4 noop], commit=2, round=0)
n1 → n5 Append(term=3, prev=1.3, entries=[3.4 noop], commit=2, round=0)
n1 → n4 Append(term=3, prev=1.2, entries=[1.3 members 1 2 3 4 5, 3.4 noop], commit=2, round=0)
n1 commits 1.3 members 1 2 3 4 5
n1 commits 3.4 noop
n1: members 1 2 3 4 5
n4: members 1 2 3 4 5
n5: members 1 2 3 4 5
n1: 4

# So nothing was decided twice.
heal
heartbeat 1
heartbeat 1
members 1 2 3 4 5
---
n1 → n2 Append(term=3, prev=1.3, entries=[], commit=0, round=0)
n2 leader → follower, term 3
n2 wants members 2 3 4: lost
n1 → n3 Append(term=3, prev=1.3, entries=[], commit=0, round=0)
n3 follower, term 3
n1 → n4 Append(term=3, prev=3.4, entries=[], commit=4, round=0)
n4 commits 1.3 members 1 2 3 4 5
n4 commits 3.4 noop
n1 → n5 Append(term=3, prev=3.4, entries=[], commit=4, round=0)
n5 commits 1.3 members 1 2 3 4 5
n5 commits 3.4 noop
n1 → n2 Append(term=3, prev=1.2, entries=[1.3 members 1 2 3 4 5, 3.4 noop], commit=4, round=0)
n2 commits 1.3 members 1 2 3 4 5
n2 commits 3.4 noop
n1 → n3 Append(term=3, prev=1.3, entries=[3.4 noop], commit=4, round=0)
n1 → n3 Append(term=3, prev=1.2, entries=[1.3 members 1 2 3 4 5, 3.4 noop], commit=4, round=0)
n3 commits 1.3 members 1 2 3 4 5
n3 commits 3.4 noop
n1 → n2 Append(term=3, prev=3.4, entries=[], commit=4, round=0)
n1 → n3 Append(term=3, prev=3.4, entries=[], commit=4, round=0)
n1 → n4 Append(term=3, prev=3.4, entries=[], commit=4, round=0)
n1 → n5 Append(term=3, prev=3.4, entries=[], commit=4, round=0)
n1: members 1 2 3 4 5
n2: members 1 2 3 4 5
n3: members 1 2 3 4 5
n4: members 1 2 3 4 5
n5: members 1 2 3 4 5
