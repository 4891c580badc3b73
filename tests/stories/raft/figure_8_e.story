# Figure 8 (e). The same past as in figure_8, but n1 gets an entry of its own term onto a majority before it
# crashes: that one is committed by counting, and "a" with it. n5 can't win any more. (§5.4.2)
nodes 5
settings max_append=1
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1

only 1 2
propose 1 a

crash 1
only 3 4 5
elect 5 quietly

crash 5
start 1
only 1 2 3
hold Append
elect 1
deliver Append
deliver Append to 3
committed 1
---
n5 crashes
n1 follower → pre-candidate, term 1
n1 pre-candidate → follower, term 2
n1 follower → pre-candidate, term 2
n1 pre-candidate → candidate, term 3
n2 follower, term 3
n3 follower, term 3
n1 candidate → leader, term 3
n1 → n2 Append(term=3, prev=1.2, entries=[3.3 noop], commit=0, round=0)
n1 → n3 Append(term=3, prev=1.2, entries=[3.3 noop], commit=0, round=0)
n3 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n2 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 → n3 Append(term=3, prev=1.1, entries=[1.2 "a"], commit=0, round=0)
n3 → n1 Appended(term=3, ok=True, match=2, round=0)
n1: 0

# The no-op of term 3 arrives as well.
deliver Append
committed 1
---
n1 → n3 Append(term=3, prev=1.2, entries=[3.3 noop], commit=0, round=0)
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 commits 1.1 noop
n1 commits 1.2 "a"
n1 commits 3.3 noop
n1: 3

# n1 crashes, and n5 comes back. Of three voters two are needed besides itself, and only n4 has a log as old
# as its own.
free
drop
crash 1
start 5
only 2 3 4 5
show AskPreVote PreVote
tire 2
tire 3
tire 4
campaign 5
campaign 5
role 5
---
n1 crashes
n5 follower → pre-candidate, term 2
n5 → n2 AskPreVote(term=3, last=2.2)
n5 → n3 AskPreVote(term=3, last=2.2)
n5 → n4 AskPreVote(term=3, last=2.2)
n2 → n5 PreVote(term=3, granted=False)
n5 pre-candidate → follower, term 3
n3 → n5 PreVote(term=3, granted=False)
n4 → n5 PreVote(term=3, granted=True)
n5 follower → pre-candidate, term 3
n5 → n2 AskPreVote(term=4, last=2.2)
n5 → n3 AskPreVote(term=4, last=2.2)
n5 → n4 AskPreVote(term=4, last=2.2)
n2 → n5 PreVote(term=3, granted=False)
n3 → n5 PreVote(term=3, granted=False)
n4 → n5 PreVote(term=4, granted=True)
n5: pre-candidate, term 3
