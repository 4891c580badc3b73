# n1 slept through two terms of which nothing is left: their leader is dead, and n3 got none of its entries. So
# n1's log is the better one, but its question is of a term that is over, and is refused. The refusal tells it
# the term, and its next question counts. If it did not, n1 would ask in vain for ever. (Thesis §9.6; etcd#8501)
nodes 3
past 1: 1 1 1
past 2: 1 1
past 3: 1
past term 1
hide Append Appended saves commits losses discards

crash 1
hold Append
elect 2
restart 2
elect 2
crash 2
drop
free
role 3
---
n1 crashes
n2 follower → pre-candidate, term 1
n2 → n3 AskPreVote(term=2, last=1.2)
n3 → n2 PreVote(term=2, granted=True)
n2 pre-candidate → candidate, term 2
n2 → n3 RequestVote(term=2, last=1.2)
n3 follower, term 2
n3 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2
n2 crashes
n2 starts
n2 follower → pre-candidate, term 2
n2 → n3 AskPreVote(term=3, last=2.3)
n3 → n2 PreVote(term=3, granted=True)
n2 pre-candidate → candidate, term 3
n2 → n3 RequestVote(term=3, last=2.3)
n3 follower, term 3
n3 → n2 Vote(term=3, granted=True)
n2 candidate → leader, term 3
n2 crashes
n3: follower, term 3

start 1
tire 3
campaign 1
role 1
---
n1 follower → pre-candidate, term 1
n1 → n3 AskPreVote(term=2, last=1.3)
n3 → n1 PreVote(term=3, granted=False)
n1 pre-candidate → follower, term 3
n1: follower, term 3

campaign 1
role 1
---
n1 follower → pre-candidate, term 3
n1 → n3 AskPreVote(term=4, last=1.3)
n3 → n1 PreVote(term=4, granted=True)
n1 pre-candidate → candidate, term 4
n1 → n3 RequestVote(term=4, last=1.3)
n3 follower, term 4
n3 → n1 Vote(term=4, granted=True)
n1 candidate → leader, term 4
n1: leader, term 4
