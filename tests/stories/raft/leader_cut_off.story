# n1 is cut off from the others, and doesn't know. For an election timeout it goes on as if it led; then it
# steps down, so that its callers ask elsewhere. Its term stays. (Thesis §6.2)
nodes 3
hide AskPreVote PreVote RequestVote Vote saves discards losses

elect 1
heartbeat 1

only 2 3
propose 1 a
advance 900
role 1
---
n1: leader, term 1

advance 150
role 1
---
n1 leader → follower, term 1
n1 a: lost
n1: follower, term 1

# The other two have elected n2 meanwhile. n1 comes back, and its entry, which only it had, is replaced.
advance 300
role 2
---
n2 follower → pre-candidate, term 1
n2 pre-candidate → candidate, term 2
n3 follower, term 2
n2 candidate → leader, term 2
n2 → n3 Append(term=2, prev=1.1, entries=[2.2 noop], commit=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 commits 2.2 noop
n2 → n3 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n3 commits 2.2 noop
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2: leader, term 2

heal
heartbeat 2
log 1 2 3
---
n2 → n1 Append(term=2, prev=1.1, entries=[], commit=0, round=0)
n1 follower, term 2
n2 → n3 Append(term=2, prev=2.2, entries=[], commit=2, round=0)
n1 → n2 Appended(term=2, ok=True, match=1, round=0)
n3 → n2 Appended(term=2, ok=True, match=2, round=0)
n2 → n1 Append(term=2, prev=1.1, entries=[2.2 noop], commit=2, round=0)
n1 commits 2.2 noop
n1 → n2 Appended(term=2, ok=True, match=2, round=0)
n1: noop, noop
n2: noop, noop
n3: noop, noop
