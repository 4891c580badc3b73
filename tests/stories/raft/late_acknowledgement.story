# n2 acknowledged three entries to n1, which led term 1, and the answers were on their way for long. n3 led
# term 2, without n2, and replaced those entries in n1's log. n1 leads term 3 now. What n2 said in term 1
# was about other entries; it counts for nothing. (§5.1)
nodes 5
settings linger=0
hide AskPreVote PreVote RequestVote Vote saves losses

elect 1
heartbeat 1

only 1 2
hold Appended to 1
propose 1 a
propose 1 b
propose 1 c
terms 1 2
---
n1 → n2 Append(term=1, prev=1.1, entries=[1.2 "a"], commit=1, round=0)
n1 → n2 Append(term=1, prev=1.2, entries=[1.3 "b"], commit=1, round=0)
n1 → n2 Append(term=1, prev=1.3, entries=[1.4 "c"], commit=1, round=0)
n1: 1 1 1 1
n2: 1 1 1 1

free
only 3 4 5
elect 3
only 1 3 4 5
heartbeat 3
elect 1
heartbeat 1
terms 1 2 3 4 5
committed 1
---
n3 follower → pre-candidate, term 1
n3 pre-candidate → candidate, term 2
n4 follower, term 2
n5 follower, term 2
n3 candidate → leader, term 2
n3 → n4 Append(term=2, prev=1.1, entries=[2.2 noop], commit=1, round=0)
n3 → n5 Append(term=2, prev=1.1, entries=[2.2 noop], commit=1, round=0)
n4 → n3 Appended(term=2, ok=True, match=2, round=0)
n5 → n3 Appended(term=2, ok=True, match=2, round=0)
n3 commits 2.2 noop
n3 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n1 leader → follower, term 2
n1 a: lost
n1 b: lost
n1 c: lost
n3 → n4 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n4 commits 2.2 noop
n3 → n5 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n5 commits 2.2 noop
n1 → n3 Appended(term=2, ok=True, match=1, round=0)
n4 → n3 Appended(term=2, ok=True, match=2, round=0)
n5 → n3 Appended(term=2, ok=True, match=2, round=0)
n3 → n1 Append(term=2, prev=1.1, entries=[2.2 noop], commit=2, round=0)
n1 commits 2.2 noop
n1 → n3 Appended(term=2, ok=True, match=2, round=0)
n1 follower → pre-candidate, term 2
n1 discards, from n3: not a pre-vote for this campaign
n1 pre-candidate → candidate, term 3
n3 discards, from n1: a leader lives
n4 follower, term 3
n5 follower, term 3
n1 candidate → leader, term 3
n1 → n3 Append(term=3, prev=2.2, entries=[3.3 noop], commit=2, round=0)
n3 leader → follower, term 3
n1 → n4 Append(term=3, prev=2.2, entries=[3.3 noop], commit=2, round=0)
n1 → n5 Append(term=3, prev=2.2, entries=[3.3 noop], commit=2, round=0)
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n4 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 commits 3.3 noop
n5 → n1 Appended(term=3, ok=True, match=3, round=0)
n1 → n3 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n3 commits 3.3 noop
n1 → n4 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n4 commits 3.3 noop
n1 → n5 Append(term=3, prev=3.3, entries=[], commit=3, round=0)
n5 commits 3.3 noop
n3 → n1 Appended(term=3, ok=True, match=3, round=0)
n4 → n1 Appended(term=3, ok=True, match=3, round=0)
n5 → n1 Appended(term=3, ok=True, match=3, round=0)
n1: 1 2 3
n2: 1 1 1 1
n3: 1 2 3
n4: 1 2 3
n5: 1 2 3
n1: 3

# "d" is on n1 and n3: two of five.
only 1 3
propose 1 d
deliver Appended
committed 1
---
n1 → n3 Append(term=3, prev=3.3, entries=[3.4 "d"], commit=3, round=0)
n3 → n1 Appended(term=3, ok=True, match=4, round=0)
n2 → n1 Appended(term=1, ok=True, match=2, round=0)
n1 discards, from n2: an answer to another term's leader
n2 → n1 Appended(term=1, ok=True, match=3, round=0)
n1 discards, from n2: an answer to another term's leader
n2 → n1 Appended(term=1, ok=True, match=4, round=0)
n1 discards, from n2: an answer to another term's leader
n1: 3
