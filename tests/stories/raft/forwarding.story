# A caller asks n2, which doesn't lead. n2 forwards to n1, and n1 tells it at once when it is committed.
nodes 3
hide AskPreVote PreVote RequestVote Vote saves

elect 1

propose 2 a
---
n2 → n1 Forward(term=1, number=1, requests="a")
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n2 commits 1.1 noop
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n3 commits 1.1 noop
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 commits 1.2 "a"
n3 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 → n2 Append(term=1, prev=1.2, entries=[], commit=2, round=0)
n2 commits 1.2 "a"
n2 a: committed at 2
n2 → n1 Appended(term=1, ok=True, match=2, round=0)

# The message comes twice. n1 knows it by its number.
hold Forward
propose 2 b
deliver Forward keep
deliver Forward
log 1
---
n2 → n1 Forward(term=1, number=2, requests="b")
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=2, round=0)
n1 → n3 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=2, round=0)
n3 commits 1.2 "a"
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 commits 1.3 "b"
n3 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 → n2 Append(term=1, prev=1.3, entries=[], commit=3, round=0)
n2 commits 1.3 "b"
n2 b: committed at 3
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n2 → n1 Forward(term=1, number=2, requests="b")
n1 discards, from n2: forwarded twice
n1: noop, a, b

# n1 is deposed while a request is on its way to it. n2 can't know whether it got there before, and says so
# to its caller. (It didn't: n1 takes in only what was meant for the term that it leads.)
propose 2 c
elect 3
---
n3 follower → pre-candidate, term 1
n3 discards, from n1: not a pre-vote for this campaign
n3 pre-candidate → candidate, term 2
n1 discards, from n3: a leader lives
n2 follower, term 2
n2 c: lost
n3 candidate → leader, term 2
n3 → n1 Append(term=2, prev=1.3, entries=[2.4 noop], commit=2, round=0)
n1 leader → follower, term 2
n3 → n2 Append(term=2, prev=1.3, entries=[2.4 noop], commit=2, round=0)
n1 → n3 Appended(term=2, ok=True, match=4, round=0)
n3 commits 1.3 "b"
n3 commits 2.4 noop
n2 → n3 Appended(term=2, ok=True, match=4, round=0)

deliver Forward
log 1 2 3
---
n2 → n1 Forward(term=1, number=3, requests="c")
n1 → n2 ForwardRefused(term=2, number=3, why=no leader)
n2 discards, from n1: a refusal that nobody waits for
n1: noop, a, b, noop
n2: noop, a, b, noop
n3: noop, a, b, noop
