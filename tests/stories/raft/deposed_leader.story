# n1 led term 1, and its last message to n3 was on its way for long. n2 leads term 2, and has committed something
# else with n3 at that index. n3 refuses what n1 wrote, and tells n1 the term. (§5.1; Figure 2, AppendEntries 1)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves losses

elect 1
heartbeat 1
hold Append from 1
propose 1 old
drop Append from 1 to 2

only 2 3
elect 2
terms 1 2 3
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.1, entries=[2.2 noop], commit=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 commits 2.2 noop
n1: 1 1
n2: 1 2
n3: 1 2

# n3 has not heard yet that this is committed.
heal
deliver Append from 1
terms 1 2 3
---
n1 → n3 Append(term=1, prev=1.1, entries=[1.2 "old"], commit=1, round=0)
n3 → n1 Appended(term=2, ok=False, match=1, round=0)
n1 leader → follower, term 2
n1 old: lost
n1 discards, from n3: an answer to another term's leader
n1: 1 1
n2: 1 2
n3: 1 2

# n1 follows, and its entry goes.
free
heartbeat 2
terms 1 2 3
---
n2 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n2 → n3 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n3 commits 2.2 noop
n1 → n2 Appended(term=2, ok=True, match=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 → n1 Append(term=2, prev=1.1, entries=[2.2 noop], commit=2, round=0)
n1 commits 2.2 noop
n1 → n2 Appended(term=2, ok=True, match=2, round=0)
n1: 1 2
n2: 1 2
n3: 1 2
