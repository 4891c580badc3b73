# n1's campaign of term 1 failed, for the votes were late. They arrive during its campaign of term 2, and count for
# nothing there: n2 and n3 may have voted for somebody else in term 2. (§5.2)
nodes 5
hide AskPreVote PreVote saves

hold Vote
campaign 1
---
n1 follower → pre-candidate, term 0
n1 pre-candidate → candidate, term 1
n1 discards, from n4: not a pre-vote for this campaign
n1 discards, from n5: not a pre-vote for this campaign
n1 → n2 RequestVote(term=1, last=0.0)
n2 follower, term 1
n1 → n3 RequestVote(term=1, last=0.0)
n3 follower, term 1
n1 → n4 RequestVote(term=1, last=0.0)
n4 follower, term 1
n1 → n5 RequestVote(term=1, last=0.0)
n5 follower, term 1

lose RequestVote
campaign 1
role 1
---
n1 candidate → pre-candidate, term 1
n1 pre-candidate → candidate, term 2
n1 discards, from n4: not a pre-vote for this campaign
n1 discards, from n5: not a pre-vote for this campaign
n1 → n2 RequestVote(term=2, last=0.0) is lost
n1 → n3 RequestVote(term=2, last=0.0) is lost
n1 → n4 RequestVote(term=2, last=0.0) is lost
n1 → n5 RequestVote(term=2, last=0.0) is lost
n1: candidate, term 2

deliver Vote
role 1
---
n2 → n1 Vote(term=1, granted=True)
n1 discards, from n2: not a vote for this campaign
n3 → n1 Vote(term=1, granted=True)
n1 discards, from n3: not a vote for this campaign
n4 → n1 Vote(term=1, granted=True)
n1 discards, from n4: not a vote for this campaign
n5 → n1 Vote(term=1, granted=True)
n1 discards, from n5: not a vote for this campaign
n1: candidate, term 2
