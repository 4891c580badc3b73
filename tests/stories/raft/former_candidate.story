# n1 was a candidate of term 2 and voted for itself. It steps down for the leader of the same term, whose
# entries it can't take yet. Its vote is given, for this term: n3, which asks late, doesn't get it. (§5.2)
nodes 5
past 1: 1
past 2: 1 1
past 3: 1
past 4: 1
past 5: 1
hide AskPreVote PreVote saves commits discards losses

# n1, n2 and n3 lose patience at once, and n4 and n5 would vote for each of them.
hold AskPreVote
campaign 1
campaign 2
campaign 3
hold RequestVote
deliver AskPreVote to 4
deliver AskPreVote to 5
drop AskPreVote
---
n1 follower → pre-candidate, term 1
n2 follower → pre-candidate, term 1
n3 follower → pre-candidate, term 1
n1 pre-candidate → candidate, term 2
n2 pre-candidate → candidate, term 2
n3 pre-candidate → candidate, term 2

# n2 wins.
hold Append
deliver RequestVote from 2 to 4
deliver RequestVote from 2 to 5
---
n2 → n4 RequestVote(term=2, last=1.2)
n4 follower, term 2
n4 → n2 Vote(term=2, granted=True)
n2 → n5 RequestVote(term=2, last=1.2)
n5 follower, term 2
n5 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2

# n1 hears of it. Its log has no second entry.
deliver Append to 1
role 1
---
n2 → n1 Append(term=2, prev=1.2, entries=[2.3 noop], commit=0, round=0)
n1 candidate → follower, term 2
n1 → n2 Appended(term=2, ok=False, match=2, round=0, conflict=0.2)
n1: follower, term 2

# The late question.
deliver RequestVote from 3 to 1
role 1 3
---
n3 → n1 RequestVote(term=2, last=1.1)
n1 → n3 Vote(term=2, granted=False)
n1: follower, term 2
n3: candidate, term 2
