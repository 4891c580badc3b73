# A read needs no entry, but the leader has to make sure that it still leads. (§8; thesis §6.4)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves losses

elect 1
propose 1 a
heartbeat 1

# It starts a round: acknowledgements of this round or a later one count.
read 1
---
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=1)
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=2, round=1)
n2 → n1 Appended(term=1, ok=True, match=2, round=1)
n1 read: sees a
n3 → n1 Appended(term=1, ok=True, match=2, round=1)

# A follower asks the leader for an index, and answers once it has applied that.
read 3
---
n3 → n1 AskRead(term=1, number=1)
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=2)
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=2, round=2)
n2 → n1 Appended(term=1, ok=True, match=2, round=2)
n3 → n1 Appended(term=1, ok=True, match=2, round=2)
n1 → n3 ReadAnswer(term=1, number=1, index=2)
n3 read: sees a

# Cut off, n1 can't make sure, and says nothing.
only 1
read 1
---
(nothing)

# n2 leads, unknown to n1.
only 2 3
elect 2
propose 2 b
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.2, entries=[2.3 noop], commit=2, round=0)
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 commits 2.3 noop
n2 → n3 Append(term=2, prev=2.3, entries=[2.4 "b"], commit=3, round=0)
n3 commits 2.3 noop
n3 → n2 Appended(term=2, ok=True, match=4, round=0)
n2 commits 2.4 "b"
n2 b: committed at 4

# When n1 hears of it, it asks n2 for its reader, who sees what was written meanwhile.
heal
heartbeat 2
---
n2 → n1 Append(term=2, prev=1.2, entries=[], commit=0, round=0)
n1 leader → follower, term 2
n2 → n3 Append(term=2, prev=2.4, entries=[], commit=4, round=0)
n3 commits 2.4 "b"
n1 → n2 Appended(term=2, ok=True, match=2, round=0)
n1 → n2 AskRead(term=2, number=3)
n3 → n2 Appended(term=2, ok=True, match=4, round=0)
n2 → n1 Append(term=2, prev=1.2, entries=[2.3 noop, 2.4 "b"], commit=4, round=0)
n1 commits 2.3 noop
n1 commits 2.4 "b"
n2 → n1 Append(term=2, prev=2.4, entries=[], commit=2, round=1)
n2 → n3 Append(term=2, prev=2.4, entries=[], commit=4, round=1)
n1 → n2 Appended(term=2, ok=True, match=4, round=0)
n1 → n2 Appended(term=2, ok=True, match=4, round=1)
n3 → n2 Appended(term=2, ok=True, match=4, round=1)
n2 → n1 ReadAnswer(term=2, number=3, index=4)
n1 read: sees a b

read 1
---
n1 → n2 AskRead(term=2, number=4)
n2 → n1 Append(term=2, prev=2.4, entries=[], commit=4, round=2)
n2 → n3 Append(term=2, prev=2.4, entries=[], commit=4, round=2)
n1 → n2 Appended(term=2, ok=True, match=4, round=2)
n3 → n2 Appended(term=2, ok=True, match=4, round=2)
n2 → n1 ReadAnswer(term=2, number=4, index=4)
n1 read: sees a b
