# Figure 8. An entry of an old term on a majority may still be replaced, so no leader may commit it by counting.
# One entry goes in each message here, so that "a" can spread without what comes after it. (§5.4.2)
nodes 5
settings max_append=1
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1

# (a) n1 leads term 1, and "a" is on n1 and n2 only.
only 1 2
propose 1 a
log 1 2 3 4 5
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 commits 1.1 noop
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1: noop, a
n2: noop, a
n3: noop
n4: noop
n5: noop

# (b) n1 crashes. n5 leads term 2 by the votes of n3 and n4, writes its no-op at the same index, and nobody
# hears of it.
crash 1
only 3 4 5
elect 5 quietly
log 5
---
n1 crashes
n5 follower → pre-candidate, term 1
n5 pre-candidate → candidate, term 2
n3 follower, term 2
n4 follower, term 2
n5 candidate → leader, term 2
n5: noop, noop

# (c) n5 crashes, n1 comes back, and leads term 3 by the votes of n2 and n3. It goes on where it was: n3 gets "a".
crash 5
start 1
only 1 2 3
hold Append
elect 1
deliver Append
deliver Append to 3
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
n3 → n1 Appended(term=3, ok=False, match=2, round=0, conflict=0.2)
n2 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 → n3 Append(term=3, prev=1.1, entries=[1.2 "a"], commit=0, round=0)
n3 → n1 Appended(term=3, ok=True, match=2, round=0)
n1: 1 1 3
n2: 1 1 3
n3: 1 1

# "a" is on a majority: n1, n2, n3. It is of term 1, and n1 leads term 3, so that commits nothing.
committed 1 2 3
---
n1: 0
n2: 1
n3: 0

# (d) n1 crashes before more is replicated. n5 comes back: n3 and n4 have nothing later than its entry of
# term 2, so they vote for it, and it replaces "a" everywhere. Had "a" been committed, that would be a loss.
free
crash 1
start 5
heal
drop
elect 5
heartbeat 5
log 2 3 4 5
---
n1 crashes
n5 follower → pre-candidate, term 2
n5 pre-candidate → follower, term 3
n5 follower → pre-candidate, term 3
n5 pre-candidate → candidate, term 4
n2 follower, term 4
n3 follower, term 4
n4 follower, term 4
n5 candidate → leader, term 4
n5 → n2 Append(term=4, prev=2.2, entries=[4.3 noop], commit=0, round=0)
n5 → n3 Append(term=4, prev=2.2, entries=[4.3 noop], commit=0, round=0)
n5 → n4 Append(term=4, prev=2.2, entries=[4.3 noop], commit=0, round=0)
n2 → n5 Appended(term=4, ok=False, match=2, round=0, conflict=1.2)
n3 → n5 Appended(term=4, ok=False, match=2, round=0, conflict=1.1)
n4 → n5 Appended(term=4, ok=False, match=2, round=0, conflict=0.2)
n5 → n2 Append(term=4, prev=1.1, entries=[2.2 noop, 4.3 noop], commit=0, round=0)
n5 → n3 Append(term=4, prev=1.1, entries=[2.2 noop, 4.3 noop], commit=0, round=0)
n5 → n4 Append(term=4, prev=1.1, entries=[2.2 noop, 4.3 noop], commit=0, round=0)
n2 → n5 Appended(term=4, ok=True, match=3, round=0)
n3 → n5 Appended(term=4, ok=True, match=3, round=0)
n5 commits 1.1 noop
n5 commits 2.2 noop
n5 commits 4.3 noop
n4 → n5 Appended(term=4, ok=True, match=3, round=0)
n5 → n2 Append(term=4, prev=4.3, entries=[], commit=3, round=0)
n2 commits 2.2 noop
n2 commits 4.3 noop
n5 → n3 Append(term=4, prev=4.3, entries=[], commit=3, round=0)
n3 commits 1.1 noop
n3 commits 2.2 noop
n3 commits 4.3 noop
n5 → n4 Append(term=4, prev=4.3, entries=[], commit=3, round=0)
n4 commits 1.1 noop
n4 commits 2.2 noop
n4 commits 4.3 noop
n2 → n5 Appended(term=4, ok=True, match=3, round=0)
n3 → n5 Appended(term=4, ok=True, match=3, round=0)
n4 → n5 Appended(term=4, ok=True, match=3, round=0)
n2: noop, noop, noop
n3: noop, noop, noop
n4: noop, noop, noop
n5: noop, noop, noop
