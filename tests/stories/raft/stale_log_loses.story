# n3 missed an entry that is committed. (§5.4.1)
nodes 3
hide Append Appended losses saves discards

elect 1

only 1 2
propose 1 a
---
n2 commits 1.1 noop
n1 commits 1.2 "a"
n1 a: committed at 2

# n1 dies. n3 may campaign, but n2's log is more up to date, and no majority will have n3.
crash 1
only 2 3
tire 2
campaign 3
role 3
---
n1 crashes
n3 follower → pre-candidate, term 1
n3 → n2 AskPreVote(term=2, last=1.1)
n2 → n3 PreVote(term=1, granted=False)
n3: pre-candidate, term 1

# n2 is elected, and n3 gets what it missed.
elect 2
heartbeat 2
log 2 3
---
n2 follower → pre-candidate, term 1
n2 → n3 AskPreVote(term=2, last=1.2)
n3 → n2 PreVote(term=2, granted=True)
n2 pre-candidate → candidate, term 2
n2 → n3 RequestVote(term=2, last=1.2)
n3 pre-candidate → follower, term 2
n3 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2
n3 commits 1.1 noop
n2 commits 1.2 "a"
n2 commits 2.3 noop
n3 commits 1.2 "a"
n3 commits 2.3 noop
n2: noop, a, noop
n3: noop, a, noop
