# n1 and n2 have committed "a", and n3 has not heard of it. n2's log rots, and only its term and vote are left. If
# it voted as one with an empty log, n3 could win, and "a" would be lost. So it elects nobody, and serves nobody,
# before it has its log back. (Alagappan et al., FAST '18)
nodes 3
hide saves losses commits discards

elect 1
heartbeat 1

only 1 2
propose 1 a
damage 2
log 1 2 3
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 a: committed at 2
n2 crashes
n2 starts, and its log is damaged
n1: noop, a
n2: empty
n3: noop

# n1 is away. n3 asks for votes, and gets none; n2 does not campaign itself.
only 2 3
tire 3
campaign 3
role 2 3
---
n3 follower → pre-candidate, term 1
n3 → n2 AskPreVote(term=2, last=1.1)
n2 → n3 PreVote(term=1, granted=False)
n2: follower, term 1
n3: pre-candidate, term 1

# n1 is back. It tells n2 where its log ends, and sends it what n2 lacks. Once that is on disk, n2 is whole.
heal
heartbeat 1
heartbeat 1
log 2
---
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=1, round=0)
n3 pre-candidate → follower, term 1
n2 → n1 Appended(term=1, ok=False, match=2, round=0, conflict=0.1)
n3 → n1 Appended(term=1, ok=False, match=2, round=0, conflict=0.2)
n1 → n2 End(term=1, last=2)
n1 → n2 Append(term=1, prev=0.0, entries=[1.1 noop, 1.2 "a"], commit=2, round=0)
n2 has all up to 2 again
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=2, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 → n2 End(term=1, last=2)
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
n2: noop, a

# Now n2 can lead without n1, and "a" is there.
crash 1
tire 3
elect 2
heartbeat 2
state 2 3
---
n1 crashes
n2 follower → pre-candidate, term 1
n2 → n3 AskPreVote(term=2, last=1.2)
n3 → n2 PreVote(term=2, granted=True)
n2 pre-candidate → candidate, term 2
n2 → n3 RequestVote(term=2, last=1.2)
n3 follower, term 2
n3 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.2, entries=[2.3 noop], commit=2, round=0)
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 → n3 Append(term=2, prev=2.3, entries=[], commit=3, round=0)
n3 → n2 Appended(term=2, ok=True, match=3, round=0)
n2: a
n3: a
