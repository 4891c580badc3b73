# n1 leads, and what it sends to the others is lost; what they send arrives. As they only answer what they hear,
# n1 hears nothing from them, and steps down within an election timeout. n2 is elected, although n1's votes
# are lost as well, and n1, which hears n2, does not try to win back what it has lost. (Thesis §6.2, §9.6)
nodes 3
hide saves Append Appended

elect 1

lose from 1
advance 1300
role 1 2 3
---
n1 leader → follower, term 1
n2 follower → pre-candidate, term 1
n2 → n1 AskPreVote(term=2, last=1.1)
n2 → n3 AskPreVote(term=2, last=1.1)
n1 → n2 PreVote(term=2, granted=True) is lost
n3 → n2 PreVote(term=2, granted=True)
n2 pre-candidate → candidate, term 2
n2 → n1 RequestVote(term=2, last=1.1)
n1 follower, term 2
n2 → n3 RequestVote(term=2, last=1.1)
n3 follower, term 2
n1 → n2 Vote(term=2, granted=True) is lost
n3 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2
n2 commits 1.1 noop
n2 commits 2.2 noop
n1: follower, term 2
n2: leader, term 2
n3: follower, term 2

# n2 can't know what n1 has, and goes on without it; n1 stays quiet.
advance 3000
role 1 2 3
log 1 2 3
---
n3 commits 1.1 noop
n3 commits 2.2 noop
n1 commits 2.2 noop
n1: follower, term 2
n2: leader, term 2
n3: follower, term 2
n1: noop, noop
n2: noop, noop
n3: noop, noop

# The link is mended.
free
show Append Appended
heartbeat 2
log 1 2 3
---
n2 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n2 → n3 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n1 → n2 Appended(term=2, ok=True, match=2, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n1: noop, noop
n2: noop, noop
n3: noop, noop
