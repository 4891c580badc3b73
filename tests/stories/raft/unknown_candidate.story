# n4 became a voter while n3 was cut off. n3 has never heard of n4, and gives it its vote: its own configuration
# does not tell who may ask. Without that vote nobody could lead here. (§6; thesis §4.1)
nodes 3
spare 1
hide saves discards losses commits Append Appended AskPreVote

elect 1
only 1 2 4
change 1 1 2 3 4
heartbeat 1
crash 1
members 2 3 4
---
n1 follower → pre-candidate, term 0
n2 → n1 PreVote(term=1, granted=True)
n1 pre-candidate → candidate, term 1
n3 → n1 PreVote(term=1, granted=True)
n1 → n2 RequestVote(term=1, last=0.0)
n2 follower, term 1
n1 → n3 RequestVote(term=1, last=0.0)
n3 follower, term 1
n2 → n1 Vote(term=1, granted=True)
n1 candidate → leader, term 1
n3 → n1 Vote(term=1, granted=True)
n4 follower, term 1
n1 wants members 1 2 3 4: done
n1 crashes
n2: members 1 2 3 4
n3: members 1 2 3
n4: members 1 2 3 4

# n1 is dead. Of four voters three are needed: n2, n3, n4.
heal
advance 950
tire 2
tire 3
campaign 4
role 4
---
n4 follower → pre-candidate, term 1
n2 → n4 PreVote(term=2, granted=True)
n3 → n4 PreVote(term=2, granted=True)
n4 pre-candidate → candidate, term 2
n4 → n2 RequestVote(term=2, last=1.3)
n2 follower, term 2
n4 → n3 RequestVote(term=2, last=1.3)
n3 follower, term 2
n2 → n4 Vote(term=2, granted=True)
n3 → n4 Vote(term=2, granted=True)
n4 candidate → leader, term 2
n4: leader, term 2

heartbeat 4
members 3
---
n3: members 1 2 3 4
