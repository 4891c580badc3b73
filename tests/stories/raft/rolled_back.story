# n1 asks for other members, and is cut off with that entry. n2's log replaces it, and the configuration in it goes
# with it: a configuration counts as long as its entry is in the log. (§6; thesis §4.1)
nodes 3
spare 1
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1
heartbeat 1
only 1
change 1 1 2 3 learning 4
members 1 2
---
n1 follower → pre-candidate, term 0
n1 pre-candidate → candidate, term 1
n2 follower, term 1
n3 follower, term 1
n1 candidate → leader, term 1
n1 → n2 Append(term=1, prev=0.0, entries=[1.1 noop], commit=0, round=0)
n1 → n3 Append(term=1, prev=0.0, entries=[1.1 noop], commit=0, round=0)
n2 → n1 Appended(term=1, ok=True, match=1, round=0)
n1 commits 1.1 noop
n3 → n1 Appended(term=1, ok=True, match=1, round=0)
n1 → n2 Append(term=1, prev=1.1, entries=[], commit=1, round=0)
n2 commits 1.1 noop
n1 → n3 Append(term=1, prev=1.1, entries=[], commit=1, round=0)
n3 commits 1.1 noop
n2 → n1 Appended(term=1, ok=True, match=1, round=0)
n3 → n1 Appended(term=1, ok=True, match=1, round=0)
n1: members 1 2 3 learning 4
n2: members 1 2 3

only 2 3
elect 2
heal
heartbeat 2
members 1 2
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.1, entries=[2.2 noop], commit=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 commits 2.2 noop
n2 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n1 leader → follower, term 2
n1 wants members 1 2 3 learning 4: lost
n2 → n3 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n3 commits 2.2 noop
n1 → n2 Appended(term=2, ok=True, match=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 → n1 Append(term=2, prev=1.1, entries=[2.2 noop], commit=2, round=0)
n1 commits 2.2 noop
n1 → n2 Appended(term=2, ok=True, match=2, round=0)
n1: members 1 2 3
n2: members 1 2 3
