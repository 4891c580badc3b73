# An entry is committed, its term is 1, and a log whose last entry is of term 2 lacks it. That is no
# contradiction to §5.4.1: term 2's log is more up to date than a slow follower's, which knows of the commit,
# but not than the logs of the majority that committed it. (Figure 8; invariants.MoreUpToDateCorrect)
nodes 5
settings max_append=1
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1

# "a" of term 1 is on n1. n5 leads term 2, unheard.
only 1
propose 1 a
crash 1
only 3 4 5
elect 5 quietly
terms 5
---
n1 crashes
n5 follower → pre-candidate, term 1
n5 pre-candidate → candidate, term 2
n3 follower, term 2
n4 follower, term 2
n5 candidate → leader, term 2
n5: 1 2

# n1 is back, leads term 3, and commits its no-op, and "a" with it, by n1, n2, n3.
crash 5
start 1
only 1 2 3
elect 1
heartbeat 1
terms 1 2 3
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
n2 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n3 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n1 → n2 Append(term=3, prev=1.1, entries=[1.2 "a"], commit=0, round=0)
n1 → n3 Append(term=3, prev=1.1, entries=[1.2 "a"], commit=0, round=0)
n2 → n1 Appended(term=3, ok=True, match=2, round=0)
n3 → n1 Appended(term=3, ok=True, match=2, round=0)
n1 → n2 Append(term=3, prev=1.2, entries=[3.3 noop], commit=0, round=0)
n1 → n3 Append(term=3, prev=1.2, entries=[3.3 noop], commit=0, round=0)
n2 → n1 Appended(term=3, ok=True, match=3, round=0)
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 commits 1.1 noop
n1 commits 1.2 "a"
n1 commits 3.3 noop
n1 → n2 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n2 commits 1.1 noop
n2 commits 1.2 "a"
n2 commits 3.3 noop
n1 → n3 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n3 commits 1.1 noop
n3 commits 1.2 "a"
n3 commits 3.3 noop
n2 → n1 Appended(term=3, ok=True, match=3, round=0)
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1: 1 1 3
n2: 1 1 3
n3: 1 1 3

# n4 hears of it slowly: it has "a", and knows that "a" is committed; the no-op of term 3 does not reach it.
only 1 2 3 4
hold Append to 4
heartbeat 1
deliver Append to 4
deliver Append to 4
terms 4
committed 4
---
n1 → n2 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n1 → n3 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n2 → n1 Appended(term=3, ok=True, match=3, round=0)
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 → n4 Append(term=3, prev=1.2, entries=[], commit=0, round=0)
n4 follower, term 3
n1 → n4 Append(term=3, prev=1.2, entries=[3.3 noop], commit=3, round=0)
n4 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n4 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n1 → n4 Append(term=3, prev=1.1, entries=[1.2 "a"], commit=3, round=0)
n4 commits 1.1 noop
n4 commits 1.2 "a"
n4 → n1 Appended(term=3, ok=True, match=2, round=0)
n4: 1 1
n4: 2

# n5 lacks "a", and n4 would vote for it. n2 and n3 would not, and without one of them it can't win.
crash 1
drop
start 5
heal
show PreVote AskPreVote
tire 2
tire 3
tire 4
campaign 5
campaign 5
role 5
committed 4
---
n1 crashes
n5 follower → pre-candidate, term 2
n5 → n2 AskPreVote(term=3, last=2.2)
n5 → n3 AskPreVote(term=3, last=2.2)
n5 → n4 AskPreVote(term=3, last=2.2)
n2 → n5 PreVote(term=3, granted=False)
n5 pre-candidate → follower, term 3
n3 → n5 PreVote(term=3, granted=False)
n4 → n5 PreVote(term=3, granted=False)
n5 follower → pre-candidate, term 3
n5 → n2 AskPreVote(term=4, last=2.2)
n5 → n3 AskPreVote(term=4, last=2.2)
n5 → n4 AskPreVote(term=4, last=2.2)
n2 → n5 PreVote(term=3, granted=False)
n3 → n5 PreVote(term=3, granted=False)
n4 → n5 PreVote(term=4, granted=True)
n5: pre-candidate, term 3
n4: 2
