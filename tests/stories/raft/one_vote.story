# A vote has to outlive a crash, so it is saved before it is sent. (§5.2; Figure 2, persistent state)
nodes 3
hide Append Appended AskPreVote PreVote discards

hold PreVote
hold RequestVote
campaign 1
campaign 2
deliver PreVote
---
n1 follower → pre-candidate, term 0
n2 follower → pre-candidate, term 0
n1 pre-candidate → candidate, term 1
n2 pre-candidate → candidate, term 1
n1 saved HardState(term=1, voted_for=1)
n2 saved HardState(term=1, voted_for=2)

# n3 votes for n1. Its answer is lost, and n3 dies.
free
lose Vote from 3 to 1
deliver RequestVote from 1 to 3 keep
restart 3
---
n1 → n3 RequestVote(term=1, last=0.0)
n3 follower, term 1
n3 saved HardState(term=1, voted_for=None)
n3 saved HardState(term=1, voted_for=1)
n3 → n1 Vote(term=1, granted=True) is lost
n3 crashes
n3 starts

# It comes back as one who has voted in this term: n2 is refused.
free
deliver RequestVote from 2 to 3
---
n2 → n3 RequestVote(term=1, last=0.0)
n3 → n2 Vote(term=1, granted=False)

# n1 asks again, for its first request may have been lost, and gets the same answer again.
deliver RequestVote from 1 to 3
role 1 2 3
---
n1 → n3 RequestVote(term=1, last=0.0)
n3 → n1 Vote(term=1, granted=True)
n1 candidate → leader, term 1
n1 saved Logged(entry=1.1 noop)
n2 candidate → follower, term 1
n2 saved Logged(entry=1.1 noop)
n3 saved Logged(entry=1.1 noop)
n1 commits 1.1 noop
n1: leader, term 1
n2: follower, term 1
n3: follower, term 1
