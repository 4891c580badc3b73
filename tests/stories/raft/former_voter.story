# n3 voted for n1, which leads term 1, and n3 doesn't hear it. It loses its patience, and asks for pre-votes, in
# the same term still. A late question of n2, another candidate of that term, gets no second vote. (§5.2; thesis §9.6)
nodes 3
hide AskPreVote PreVote saves commits discards losses

hold AskPreVote
campaign 1
campaign 2
hold RequestVote
deliver AskPreVote to 3
drop AskPreVote
---
n1 follower → pre-candidate, term 0
n2 follower → pre-candidate, term 0
n1 pre-candidate → candidate, term 1
n2 pre-candidate → candidate, term 1

hold Append
deliver RequestVote from 1 to 3
role 1
---
n1 → n3 RequestVote(term=1, last=0.0)
n3 follower, term 1
n3 → n1 Vote(term=1, granted=True)
n1 candidate → leader, term 1
n1: leader, term 1

campaign 3
drop AskPreVote
role 3
---
n3 follower → pre-candidate, term 1
n3: pre-candidate, term 1

deliver RequestVote from 2 to 3
role 1 2 3
---
n2 → n3 RequestVote(term=1, last=0.0)
n3 → n2 Vote(term=1, granted=False)
n1: leader, term 1
n2: candidate, term 1
n3: pre-candidate, term 1
