# n4 is started with an empty log, and asked for as a voter. It learns first: it is sent the log, and once it
# has caught up it votes, in a configuration of its own. (Raft §6, thesis §4.2.1)
nodes 3
spare 1
hide AskPreVote PreVote RequestVote Vote saves discards

elect 1
propose 1 a

change 1 1 2 3 4
---
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 members 1 2 3 learning 4], commit=2, round=0)
n2 commits 1.2 "a"
n1 → n3 Append(term=1, prev=1.2, entries=[1.3 members 1 2 3 learning 4], commit=2, round=0)
n3 commits 1.2 "a"
n1 → n4 Append(term=1, prev=1.2, entries=[1.3 members 1 2 3 learning 4], commit=2, round=0)
n4 follower, term 1
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 commits 1.3 members 1 2 3 learning 4
n3 → n1 Appended(term=1, ok=True, match=3, round=0)
n4 → n1 Appended(term=1, ok=False, match=2, round=0, conflict=0.1)
n1 → n4 Append(term=1, prev=0.0, entries=[1.1 noop, 1.2 "a", 1.3 members 1 2 3 learning 4], commit=3, round=0)
n4 commits 1.1 noop
n4 commits 1.2 "a"
n4 commits 1.3 members 1 2 3 learning 4
n4 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 → n2 Append(term=1, prev=1.3, entries=[1.4 members 1 2 3 4], commit=3, round=0)
n2 commits 1.3 members 1 2 3 learning 4
n1 → n3 Append(term=1, prev=1.3, entries=[1.4 members 1 2 3 4], commit=3, round=0)
n3 commits 1.3 members 1 2 3 learning 4
n1 → n4 Append(term=1, prev=1.3, entries=[1.4 members 1 2 3 4], commit=3, round=0)
n2 → n1 Appended(term=1, ok=True, match=4, round=0)
n3 → n1 Appended(term=1, ok=True, match=4, round=0)
n1 wants members 1 2 3 4: done
n1 commits 1.4 members 1 2 3 4
n4 → n1 Appended(term=1, ok=True, match=4, round=0)

# n1 and n2 go, which is more than one: both majorities decide for a while. n2 asks n1 for it, which leads
# until C-new is committed, without its own copy counting; then it hands over.
change 2 3 4
---
n2 → n1 ForwardChange(term=1, number=1, members=members 3 4, base=None)
n1 → n2 Append(term=1, prev=1.4, entries=[1.5 members 3 4 instead of 1 2 3 4], commit=4, round=0)
n2 commits 1.4 members 1 2 3 4
n1 → n3 Append(term=1, prev=1.4, entries=[1.5 members 3 4 instead of 1 2 3 4], commit=4, round=0)
n3 commits 1.4 members 1 2 3 4
n1 → n4 Append(term=1, prev=1.4, entries=[1.5 members 3 4 instead of 1 2 3 4], commit=4, round=0)
n4 commits 1.4 members 1 2 3 4
n2 → n1 Appended(term=1, ok=True, match=5, round=0)
n3 → n1 Appended(term=1, ok=True, match=5, round=0)
n4 → n1 Appended(term=1, ok=True, match=5, round=0)
n1 commits 1.5 members 3 4 instead of 1 2 3 4
n1 → n3 Append(term=1, prev=1.5, entries=[1.6 members 3 4], commit=5, round=0)
n3 commits 1.5 members 3 4 instead of 1 2 3 4
n1 → n4 Append(term=1, prev=1.5, entries=[1.6 members 3 4], commit=5, round=0)
n4 commits 1.5 members 3 4 instead of 1 2 3 4
n3 → n1 Appended(term=1, ok=True, match=6, round=0)
n4 → n1 Appended(term=1, ok=True, match=6, round=0)
n1 commits 1.6 members 3 4
n1 → n2 MembersChanged(term=1, number=1)
n2 wants members 3 4: done
n1 → n3 TimeoutNow(term=1, last=1.6)
n3 follower → candidate, term 2
n1 → n3 Append(term=1, prev=1.6, entries=[], commit=6, round=0)
n1 → n4 Append(term=1, prev=1.6, entries=[], commit=6, round=0)
n4 commits 1.6 members 3 4
n4 follower, term 2
n3 → n1 Appended(term=2, ok=False, match=6, round=0)
n1 leader → follower, term 2
n4 → n1 Appended(term=1, ok=True, match=6, round=0)
n3 candidate → leader, term 2
n3 → n4 Append(term=2, prev=1.6, entries=[2.7 noop], commit=5, round=0)
n4 → n3 Appended(term=2, ok=True, match=7, round=0)
n3 commits 1.6 members 3 4
n3 commits 2.7 noop

heartbeat 3
role 1 2 3 4
---
n3 → n4 Append(term=2, prev=2.7, entries=[], commit=7, round=0)
n4 commits 2.7 noop
n4 → n3 Appended(term=2, ok=True, match=7, round=0)
n1: follower, term 2
n2: follower, term 1
n3: leader, term 2
n4: follower, term 2
