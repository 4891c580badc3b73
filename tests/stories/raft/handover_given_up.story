# n1 is asked to hand over to n3, which does not answer. n1 accepts no requests meanwhile; after an election
# timeout it gives up, and goes on. (Thesis §3.10)
nodes 3
hide Append Appended AskPreVote PreVote RequestVote Vote saves discards commits

elect 1
heartbeat 1
only 1 2

propose 2 a
transfer 1 to 3
propose 2 b
---
n2 → n1 Forward(term=1, number=1, requests="a")
n2 a: committed at 2
n2 → n1 Forward(term=1, number=2, requests="b")
n1 → n2 ForwardRefused(term=1, number=2, why=leadership is being transferred)

advance 990
---
(nothing)

advance 20
log 1 2
role 1
---
n1 transfer to n3: rejected: that member does not catch up in time (n1 leads)
n2 → n1 Forward(term=1, number=3, requests="b")
n2 b: committed at 3
n1: noop, a, b
n2: noop, a, b
n1: leader, term 1
