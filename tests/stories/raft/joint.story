# n1, n2, n3 become n3, n4, n5: two voters leave and two come, which is more than a single step may do. In
# between both majorities decide, each for itself. (§6)
nodes 3
spare 2
hide AskPreVote PreVote RequestVote Vote saves discards Appended

elect 1
change 1 1 2 3 learning 4 5
heartbeat 1

# C-old,new is on n1, n4 and n5: two of three of the new one, one of three of the old one.
lose Append to 2
lose Append to 3
change 1 3 4 5
members 1 2 3 4 5
committed 1
---
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 members 3 4 5 instead of 1 2 3], commit=2, round=0) is lost
n1 → n3 Append(term=1, prev=1.2, entries=[1.3 members 3 4 5 instead of 1 2 3], commit=2, round=0) is lost
n1 → n4 Append(term=1, prev=1.2, entries=[1.3 members 3 4 5 instead of 1 2 3], commit=2, round=0)
n1 → n5 Append(term=1, prev=1.2, entries=[1.3 members 3 4 5 instead of 1 2 3], commit=2, round=0)
n1: members 3 4 5 instead of 1 2 3
n2: members 1 2 3 learning 4 5
n3: members 1 2 3 learning 4 5
n4: members 3 4 5 instead of 1 2 3
n5: members 3 4 5 instead of 1 2 3
n1: 2

# A request that comes meanwhile isn't decided by the new majority alone either.
propose 4 a
---
n4 → n1 Forward(term=1, number=1, requests="a")
n1 → n2 Append(term=1, prev=1.3, entries=[1.4 "a"], commit=2, round=0) is lost
n1 → n3 Append(term=1, prev=1.3, entries=[1.4 "a"], commit=2, round=0) is lost
n1 → n4 Append(term=1, prev=1.3, entries=[1.4 "a"], commit=2, round=0)
n1 → n5 Append(term=1, prev=1.3, entries=[1.4 "a"], commit=2, round=0)

# With n2 there is a majority of each. Then C-new, by n4 and n5, and n1, which is not in it, hands over.
free
lose Append to 3
heartbeat 1
members 3 4 5
---
n1 → n2 Append(term=1, prev=1.4, entries=[], commit=2, round=0)
n1 → n3 Append(term=1, prev=1.4, entries=[], commit=2, round=0) is lost
n1 → n4 Append(term=1, prev=1.4, entries=[], commit=2, round=0)
n1 → n5 Append(term=1, prev=1.4, entries=[], commit=2, round=0)
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 members 3 4 5 instead of 1 2 3, 1.4 "a"], commit=2, round=0)
n1 commits 1.3 members 3 4 5 instead of 1 2 3
n1 commits 1.4 "a"
n1 → n3 Append(term=1, prev=1.4, entries=[1.5 members 3 4 5], commit=4, round=0) is lost
n1 → n4 Append(term=1, prev=1.4, entries=[1.5 members 3 4 5], commit=4, round=0)
n4 commits 1.3 members 3 4 5 instead of 1 2 3
n4 commits 1.4 "a"
n4 a: committed at 4
n1 → n5 Append(term=1, prev=1.4, entries=[1.5 members 3 4 5], commit=4, round=0)
n5 commits 1.3 members 3 4 5 instead of 1 2 3
n5 commits 1.4 "a"
n1 wants members 3 4 5: done
n1 commits 1.5 members 3 4 5
n1 → n4 TimeoutNow(term=1, last=1.5)
n4 follower → candidate, term 2
n1 → n3 Append(term=1, prev=1.5, entries=[], commit=2, round=0) is lost
n1 → n4 Append(term=1, prev=1.5, entries=[], commit=5, round=0)
n1 → n5 Append(term=1, prev=1.5, entries=[], commit=5, round=0)
n5 commits 1.5 members 3 4 5
n3 follower, term 2
n5 follower, term 2
n1 leader → follower, term 2
n4 candidate → leader, term 2
n4 → n3 Append(term=2, prev=1.5, entries=[2.6 noop], commit=4, round=0) is lost
n4 → n5 Append(term=2, prev=1.5, entries=[2.6 noop], commit=4, round=0)
n4 commits 1.5 members 3 4 5
n4 commits 2.6 noop
n3: members 1 2 3 learning 4 5
n4: members 3 4 5
n5: members 3 4 5

free
heartbeat 4
role 1 2 3 4 5
members 3
---
n4 → n3 Append(term=2, prev=1.5, entries=[], commit=0, round=0)
n4 → n5 Append(term=2, prev=2.6, entries=[], commit=6, round=0)
n5 commits 2.6 noop
n4 → n3 Append(term=2, prev=1.2, entries=[1.3 members 3 4 5 instead of 1 2 3, 1.4 "a", 1.5 members 3 4 5, 2.6 noop], commit=6, round=0)
n3 commits 1.3 members 3 4 5 instead of 1 2 3
n3 commits 1.4 "a"
n3 commits 1.5 members 3 4 5
n3 commits 2.6 noop
n1: follower, term 2
n2: follower, term 1
n3: follower, term 2
n4: leader, term 2
n5: follower, term 2
n3: members 3 4 5
