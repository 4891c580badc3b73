# n1 hands over to n2, which lacks an entry. First n2 gets it, then it is told to campaign, and n3 votes for
# it although it has just heard from n1. (Thesis §3.10)
nodes 3
hide AskPreVote PreVote saves discards

elect 1

only 1 3
propose 1 a

heal
transfer 1 to 2
---
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=1, round=0)
n1 → n3 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n3 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=False, match=2, round=0, conflict=0.2)
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=2, round=0)
n2 commits 1.1 noop
n2 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 → n2 TimeoutNow(term=1, last=1.2)
n2 follower → candidate, term 2
n2 → n1 RequestVote(term=2, last=1.2, handed_over=True)
n1 leader → follower, term 2
n2 → n3 RequestVote(term=2, last=1.2, handed_over=True)
n3 follower, term 2
n1 → n2 Vote(term=2, granted=True)
n2 candidate → leader, term 2
n3 → n2 Vote(term=2, granted=True)
n2 → n1 Append(term=2, prev=1.2, entries=[2.3 noop], commit=2, round=0)
n1 transfer to n2: done
n2 → n3 Append(term=2, prev=1.2, entries=[2.3 noop], commit=2, round=0)
n1 → n2 Appended(term=2, ok=True, match=3, round=0)
n2 commits 2.3 noop
n3 → n2 Appended(term=2, ok=True, match=3, round=0)

# The new leader can hand over in turn. n1 votes again, while n2's last words to it are still on their way.
hold Append from 2
transfer 2 to 3
---
n2 → n3 TimeoutNow(term=2, last=2.3)
n3 follower → candidate, term 3
n3 → n1 RequestVote(term=3, last=2.3, handed_over=True)
n1 follower, term 3
n3 → n2 RequestVote(term=3, last=2.3, handed_over=True)
n2 leader → follower, term 3
n1 → n3 Vote(term=3, granted=True)
n3 candidate → leader, term 3
n2 → n3 Vote(term=3, granted=True)
n3 → n1 Append(term=3, prev=2.3, entries=[3.4 noop], commit=2, round=0)
n3 → n2 Append(term=3, prev=2.3, entries=[3.4 noop], commit=2, round=0)
n2 transfer to n3: done
n1 → n3 Appended(term=3, ok=True, match=4, round=0)
n3 commits 2.3 noop
n3 commits 3.4 noop
n2 → n3 Appended(term=3, ok=True, match=4, round=0)
