# n3 was removed while it was cut off, and never heard of it. It is not in anybody's configuration any more,
# gets no heartbeats, and campaigns. Whoever hears the leader answers neither by a vote nor by a new term.
# (§6; thesis §4.2.3)
nodes 3
hide Append Appended losses commits saves

elect 1
only 1 2
change 1 1 2

members 1 2 3
---
n1: members 1 2
n2: members 1 2
n3: members 1 2 3

# It asks for pre-votes, and gets none.
heal
advance 1500
role 3
---
n3 follower → pre-candidate, term 1
n3 → n1 AskPreVote(term=2, last=1.1)
n3 → n2 AskPreVote(term=2, last=1.1)
n1 → n3 PreVote(term=1, granted=False)
n3 discards, from n1: not a pre-vote for this campaign
n2 → n3 PreVote(term=1, granted=False)
n3 discards, from n2: not a pre-vote for this campaign
n3: pre-candidate, term 1

# Nor later, however often it asks.
hide AskPreVote PreVote discards
advance 60000
role 1 2 3
---
n1: leader, term 1
n2: follower, term 1
n3: pre-candidate, term 1
