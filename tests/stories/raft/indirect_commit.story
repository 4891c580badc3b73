# n2, a leader that was deposed and doesn't know it, holds another entry where n1 commits one of an older term
# through one of its own. n2's log ends with a later term than the entry committed; but it can't commit its own,
# and comes round. (§5.4.2)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1

# "old" is on n1 only. n2 leads term 2 with n3, and writes its no-op for nobody.
only 1
propose 1 old
only 2 3
elect 2 quietly
terms 1 2 3
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n1: 1 1
n2: 1 2
n3: 1

# n1 leads term 3 with n3, and commits "old" through its no-op. n2 still leads, for all it knows.
only 1 3
heartbeat 1
elect 1
heartbeat 1
role 1 2
terms 1 2 3
committed 1 2
---
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=1, round=0)
n3 → n1 Appended(term=2, ok=False, match=2, round=0)
n1 leader → follower, term 2
n1 old: lost
n1 follower → pre-candidate, term 2
n1 pre-candidate → candidate, term 3
n3 follower, term 3
n1 candidate → leader, term 3
n1 → n3 Append(term=3, prev=1.2, entries=[3.3 noop], commit=1, round=0)
n3 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n1 → n3 Append(term=3, prev=1.1, entries=[1.2 "old", 3.3 noop], commit=1, round=0)
n3 commits 1.1 noop
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 commits 1.2 "old"
n1 commits 3.3 noop
n1 → n3 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n3 commits 1.2 "old"
n3 commits 3.3 noop
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1: leader, term 3
n2: leader, term 2
n1: 1 1 3
n2: 1 2
n3: 1 1 3
n1: 3
n2: 0

heal
heartbeat 1
terms 1 2 3
---
n1 → n2 Append(term=3, prev=1.2, entries=[], commit=0, round=0)
n2 leader → follower, term 3
n1 → n3 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n2 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=2.2)
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 → n2 Append(term=3, prev=1.1, entries=[1.2 "old", 3.3 noop], commit=3, round=0)
n2 commits 1.1 noop
n2 commits 1.2 "old"
n2 commits 3.3 noop
n2 → n1 Appended(term=3, ok=True, match=3, round=0)
n1: 1 1 3
n2: 1 1 3
n3: 1 1 3
