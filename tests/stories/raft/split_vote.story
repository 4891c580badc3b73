# Four nodes, two candidates, two votes each: nobody wins the term. (§5.2)
nodes 4
hide Append Appended AskPreVote PreVote saves discards

# Both lose patience before they hear of each other.
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

# n3 hears of n1 first, n4 of n2. Nobody votes twice in a term, so the rest of the votes are refused.
free
deliver RequestVote from 1 to 3
deliver RequestVote from 2 to 4
deliver RequestVote
---
n1 → n3 RequestVote(term=1, last=0.0)
n3 follower, term 1
n3 → n1 Vote(term=1, granted=True)
n2 → n4 RequestVote(term=1, last=0.0)
n4 follower, term 1
n4 → n2 Vote(term=1, granted=True)
n1 → n2 RequestVote(term=1, last=0.0)
n1 → n4 RequestVote(term=1, last=0.0)
n2 → n1 RequestVote(term=1, last=0.0)
n2 → n3 RequestVote(term=1, last=0.0)
n2 → n1 Vote(term=1, granted=False)
n4 → n1 Vote(term=1, granted=False)
n1 → n2 Vote(term=1, granted=False)
n3 → n2 Vote(term=1, granted=False)

# Each draws a new wait. n1's is the shorter, so it is alone in the next term.
luck 2 0.8
advance 1150
---
n1 candidate → pre-candidate, term 1
n1 pre-candidate → candidate, term 2
n1 → n2 RequestVote(term=2, last=0.0)
n2 candidate → follower, term 2
n1 → n3 RequestVote(term=2, last=0.0)
n3 follower, term 2
n1 → n4 RequestVote(term=2, last=0.0)
n4 follower, term 2
n2 → n1 Vote(term=2, granted=True)
n3 → n1 Vote(term=2, granted=True)
n1 candidate → leader, term 2
n4 → n1 Vote(term=2, granted=True)
n1 commits 2.1 noop
