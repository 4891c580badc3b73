# Nobody leads at first. n1 has drawn the shortest wait: it asks whether it would be elected, then it asks
# for votes, and once its own vote is on disk and another has come in, it leads three nodes. (§5.2, thesis §9.6)
nodes 3
hide discards

advance 1150
---
n1 follower → pre-candidate, term 0
n1 → n2 AskPreVote(term=1, last=0.0)
n1 → n3 AskPreVote(term=1, last=0.0)
n2 → n1 PreVote(term=1, granted=True)
n1 pre-candidate → candidate, term 1
n1 saved HardState(term=1, voted_for=1)
n3 → n1 PreVote(term=1, granted=True)
n1 → n2 RequestVote(term=1, last=0.0)
n2 follower, term 1
n2 saved HardState(term=1, voted_for=None)
n2 saved HardState(term=1, voted_for=1)
n1 → n3 RequestVote(term=1, last=0.0)
n3 follower, term 1
n3 saved HardState(term=1, voted_for=None)
n3 saved HardState(term=1, voted_for=1)
n2 → n1 Vote(term=1, granted=True)
n1 candidate → leader, term 1
n1 saved Logged(entry=1.1 noop)
n3 → n1 Vote(term=1, granted=True)
n1 → n2 Append(term=1, prev=0.0, entries=[1.1 noop], commit=0, round=0)
n2 saved Logged(entry=1.1 noop)
n1 → n3 Append(term=1, prev=0.0, entries=[1.1 noop], commit=0, round=0)
n3 saved Logged(entry=1.1 noop)
n2 → n1 Appended(term=1, ok=True, match=1, round=0)
n1 commits 1.1 noop
n3 → n1 Appended(term=1, ok=True, match=1, round=0)

# It has committed an empty entry of its term (§8). A request is committed once a majority has saved it.
propose 1 a
---
n1 saved Logged(entry=1.2 "a")
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 commits 1.1 noop
n2 saved Logged(entry=1.2 "a")
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n3 commits 1.1 noop
n3 saved Logged(entry=1.2 "a")
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 commits 1.2 "a"
n1 a: committed at 2
n3 → n1 Appended(term=1, ok=True, match=2, round=0)

# The others hear with the next heartbeat how far the log is committed.
heartbeat 1
---
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n2 commits 1.2 "a"
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n3 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
