# n4 is made a voter by an entry that it does not have yet. Its vote is needed for the next leader, and it gives
# it: who votes is up to the candidate's configuration, not to the voter's. (§6; thesis §4.2.2)
nodes 3
spare 1
hide saves discards losses commits Append Appended AskPreVote

elect 1
change 1 1 2 3 learning 4
heartbeat 1

lose Append to 4
change 1 1 2 3 4
heartbeat 1
members 1 2 3 4
---
n1 wants members 1 2 3 4: done
n1: members 1 2 3 4
n2: members 1 2 3 4
n3: members 1 2 3 4
n4: members 1 2 3 learning 4

# n3 dies for good, n1 for a while. Of four voters three are needed: n1, n2, n4.
crash 3
crash 1
hide PreVote roles
advance 2500
show PreVote roles
start 1
free
campaign 1
members 4
role 1
---
n3 crashes
n1 crashes
n1 follower → pre-candidate, term 1
n2 → n1 PreVote(term=2, granted=True)
n4 → n1 PreVote(term=2, granted=True)
n1 pre-candidate → candidate, term 2
n1 → n2 RequestVote(term=2, last=1.3)
n2 pre-candidate → follower, term 2
n1 → n4 RequestVote(term=2, last=1.3)
n4 follower, term 2
n2 → n1 Vote(term=2, granted=True)
n4 → n1 Vote(term=2, granted=True)
n1 candidate → leader, term 2
n4: members 1 2 3 4
n1: leader, term 2
