# n3 campaigns against a leader that lives. n2 had just lost patience as well, and granted it a pre-vote; but
# before n3 asks for votes, n2 hears from n1 again. So neither n1 nor n2 votes, or takes n3's term over.
# (Thesis §4.2.3)
nodes 3
hide Append Appended losses commits saves

elect 1
heartbeat 1

lose Append to 3
tire 2
hold RequestVote
campaign 3
role 3
---
n3 follower → pre-candidate, term 1
n3 → n1 AskPreVote(term=2, last=1.1)
n3 → n2 AskPreVote(term=2, last=1.1)
n1 → n3 PreVote(term=1, granted=False)
n3 discards, from n1: not a pre-vote for this campaign
n2 → n3 PreVote(term=2, granted=True)
n3 pre-candidate → candidate, term 2
n3: candidate, term 2

heartbeat 1
deliver RequestVote
role 1 2 3
---
n3 → n1 RequestVote(term=2, last=1.1)
n1 discards, from n3: a leader lives
n3 → n2 RequestVote(term=2, last=1.1)
n2 discards, from n3: a leader lives
n1: leader, term 1
n2: follower, term 1
n3: candidate, term 2

# n3 is in a term of its own. n1 learns of it by n3's answer, and makes way for an election in which all are in
# one term again.
free
show Append Appended
heartbeat 1
hide Append Appended
elect 1
role 1 2 3
---
n1 → n2 Append(term=1, prev=1.1, entries=[], commit=1, round=0)
n1 → n3 Append(term=1, prev=1.1, entries=[], commit=1, round=0)
n2 → n1 Appended(term=1, ok=True, match=1, round=0)
n3 → n1 Appended(term=2, ok=False, match=1, round=0)
n1 leader → follower, term 2
n1 discards, from n3: an answer to another term's leader
n1 follower → pre-candidate, term 2
n1 → n2 AskPreVote(term=3, last=1.1)
n1 → n3 AskPreVote(term=3, last=1.1)
n2 → n1 PreVote(term=3, granted=True)
n1 pre-candidate → candidate, term 3
n3 → n1 PreVote(term=3, granted=True)
n1 discards, from n3: not a pre-vote for this campaign
n1 → n2 RequestVote(term=3, last=1.1)
n2 follower, term 3
n1 → n3 RequestVote(term=3, last=1.1)
n3 candidate → follower, term 3
n2 → n1 Vote(term=3, granted=True)
n1 candidate → leader, term 3
n3 → n1 Vote(term=3, granted=True)
n1 discards, from n3: not a vote for this campaign
n1: leader, term 3
n2: follower, term 3
n3: follower, term 3
