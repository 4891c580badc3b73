# n3 was cut off. It asked for pre-votes in vain, so its term never rose, and its return deposes nobody.
# (Thesis §9.6, §4.2.3)
nodes 3
hide Append Appended commits

elect 1

# It loses its patience, and nobody answers; nor does anybody later.
only 1 2
advance 1350
---
n3 follower → pre-candidate, term 1
n3 → n1 AskPreVote(term=2, last=1.1) is lost
n3 → n2 AskPreVote(term=2, last=1.1) is lost

hide AskPreVote
advance 10000
role 1 3
---
n1: leader, term 1
n3: pre-candidate, term 1

show AskPreVote

# Back again, it asks the others before it hears the leader. They hear n1, and refuse.
heal
campaign 3
---
n3 → n1 AskPreVote(term=2, last=1.1)
n3 → n2 AskPreVote(term=2, last=1.1)
n1 → n3 PreVote(term=1, granted=False)
n3 discards, from n1: not a pre-vote for this campaign
n2 → n3 PreVote(term=1, granted=False)
n3 discards, from n2: not a pre-vote for this campaign

heartbeat 1
role 1 2 3
---
n3 pre-candidate → follower, term 1
n1: leader, term 1
n2: follower, term 1
n3: follower, term 1
