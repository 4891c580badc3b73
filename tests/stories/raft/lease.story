# n1 reads by its lease, deposed and cut off as it is. n2 leads, has everything on a majority, and commits none of it
# before the lease is over by its own clock. (LeaseGuard)
nodes 3
settings lease=5000000000
hide AskPreVote PreVote RequestVote Vote discards saves losses TimeoutNow Appended Append

elect 1

propose 1 a

heartbeat 1

only 2 3
elect 2
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2

propose 2 b
heartbeat 2
log 3
committed 2
read 1
---
n3: noop, a, noop, b
n2: 2
n1 read: sees a

# Six seconds: Δ (1 + ρ).
heartbeat 2 60
---
n2 commits 2.3 noop
n2 commits 2.4 "b"
n2 b: committed at 4
n3 commits 2.3 noop
n3 commits 2.4 "b"

# Readers renew a lease by a no-op before it ends, and only they do.
read 2
log 2
---
n2 read: sees a b
n2 commits 2.5 noop
n2: noop, a, noop, b, noop

heartbeat 2 30
log 2
---
n3 commits 2.5 noop
n2: noop, a, noop, b, noop

read 2
log 2
---
n2 read: sees a b
n2 commits 2.6 noop
n2: noop, a, noop, b, noop, noop
