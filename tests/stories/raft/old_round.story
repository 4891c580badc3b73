# The acknowledgement of a round that began before a read came confirms nothing for that read: n1 may have been
# deposed in between. (Thesis §6.4)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1
heartbeat 1

# The answers of the first round are on their way for long.
hold Appended to 1
read 1
---
n1 → n2 Append(term=1, prev=1.1, entries=[], commit=1, round=1)
n1 → n3 Append(term=1, prev=1.1, entries=[], commit=1, round=1)

# Meanwhile n2 is elected by n3, and writes "new".
only 2 3
elect 2
propose 2 new
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.1, entries=[2.2 noop], commit=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 commits 2.2 noop
n2 → n3 Append(term=2, prev=2.2, entries=[2.3 "new"], commit=2, round=0)
n3 commits 2.2 noop
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 commits 2.3 "new"
n2 new: committed at 3

# n1 is asked again, and only then the old answers arrive. They confirm the first read, for when they were sent
# n1 led; not the second, which must see "new".
read 1
deliver Appended from 2 first
---
n2 → n1 Appended(term=1, ok=True, match=1, round=1)
n1 read: sees nothing

free
drop Appended
heal
heartbeat 2
heartbeat 2
---
n2 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n1 leader → follower, term 2
n2 → n3 Append(term=2, prev=2.3, entries=[], commit=3, round=0)
n3 commits 2.3 "new"
n1 → n2 Appended(term=2, ok=True, match=1, round=0)
n1 → n2 AskRead(term=2, number=3)
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 → n1 Append(term=2, prev=1.1, entries=[2.2 noop, 2.3 "new"], commit=3, round=0)
n1 commits 2.2 noop
n1 commits 2.3 "new"
n2 → n1 Append(term=2, prev=2.3, entries=[], commit=1, round=1)
n2 → n3 Append(term=2, prev=2.3, entries=[], commit=3, round=1)
n1 → n2 Appended(term=2, ok=True, match=3, round=0)
n1 → n2 Appended(term=2, ok=True, match=3, round=1)
n3 → n2 Appended(term=2, ok=True, match=3, round=1)
n2 → n1 ReadAnswer(term=2, number=3, index=3)
n1 read: sees new
n2 → n1 Append(term=2, prev=2.3, entries=[], commit=3, round=1)
n2 → n3 Append(term=2, prev=2.3, entries=[], commit=3, round=1)
n1 → n2 Appended(term=2, ok=True, match=3, round=1)
n3 → n2 Appended(term=2, ok=True, match=3, round=1)
