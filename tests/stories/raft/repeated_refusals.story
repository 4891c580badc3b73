# n2 answers slowly, and n1 sends a heartbeat before each of its answers has come: so each refusal comes twice,
# and the second is about what was resolved meanwhile. n1 goes on all the same. (§5.3)
nodes 3
past 1: 1 1 1 3 3 5 5
past 2: 1 1 1 2 2 4 4 4
past 3: 1 1 1 3 3 5 5
past term 5
hide AskPreVote PreVote RequestVote Vote saves commits

only 1 3
elect 1
heartbeat 1

heal
hold Appended from 2
heartbeat 1
heartbeat 1
deliver Appended
---
n1 → n2 Append(term=6, prev=5.7, entries=[], commit=0, round=0)
n2 follower, term 6
n1 → n3 Append(term=6, prev=6.8, entries=[], commit=8, round=0)
n3 → n1 Appended(term=6, ok=True, match=8, round=0)
n1 → n2 Append(term=6, prev=5.7, entries=[6.8 noop], commit=8, round=0)
n1 → n2 Append(term=6, prev=5.7, entries=[], commit=0, round=0)
n1 → n3 Append(term=6, prev=6.8, entries=[], commit=8, round=0)
n3 → n1 Appended(term=6, ok=True, match=8, round=0)
n1 → n2 Append(term=6, prev=5.7, entries=[6.8 noop], commit=8, round=0)
n2 → n1 Appended(term=6, ok=False, match=7, round=0, conflict=4.6)
n2 → n1 Appended(term=6, ok=False, match=7, round=0, conflict=4.6)
n1 discards, from n2: a rejection of what was since resolved
n2 → n1 Appended(term=6, ok=False, match=7, round=0, conflict=4.6)
n1 discards, from n2: a rejection of what was since resolved
n2 → n1 Appended(term=6, ok=False, match=7, round=0, conflict=4.6)
n1 discards, from n2: a rejection of what was since resolved
n1 → n2 Append(term=6, prev=3.5, entries=[5.6 "5.6", 5.7 "5.7", 6.8 noop], commit=8, round=0)

heartbeat 1
deliver Appended
---
n1 → n2 Append(term=6, prev=3.5, entries=[], commit=0, round=0)
n1 → n3 Append(term=6, prev=6.8, entries=[], commit=8, round=0)
n3 → n1 Appended(term=6, ok=True, match=8, round=0)
n1 → n2 Append(term=6, prev=3.5, entries=[5.6 "5.6", 5.7 "5.7", 6.8 noop], commit=8, round=0)
n2 → n1 Appended(term=6, ok=False, match=5, round=0, conflict=2.4)
n2 → n1 Appended(term=6, ok=False, match=5, round=0, conflict=2.4)
n1 discards, from n2: a rejection of what was since resolved
n2 → n1 Appended(term=6, ok=False, match=5, round=0, conflict=2.4)
n1 discards, from n2: a rejection of what was since resolved
n1 → n2 Append(term=6, prev=1.3, entries=[3.4 "3.4", 3.5 "3.5", 5.6 "5.6", 5.7 "5.7", 6.8 noop], commit=8, round=0)

heartbeat 1
deliver Appended
---
n1 → n2 Append(term=6, prev=1.3, entries=[], commit=0, round=0)
n1 → n3 Append(term=6, prev=6.8, entries=[], commit=8, round=0)
n3 → n1 Appended(term=6, ok=True, match=8, round=0)
n1 → n2 Append(term=6, prev=1.3, entries=[3.4 "3.4", 3.5 "3.5", 5.6 "5.6", 5.7 "5.7", 6.8 noop], commit=8, round=0)
n2 → n1 Appended(term=6, ok=True, match=8, round=0)
n2 → n1 Appended(term=6, ok=True, match=8, round=0)
n2 → n1 Appended(term=6, ok=True, match=8, round=0)

free
deliver Appended
heartbeat 1
terms 1 2 3
---
n1 → n2 Append(term=6, prev=6.8, entries=[], commit=8, round=0)
n1 → n3 Append(term=6, prev=6.8, entries=[], commit=8, round=0)
n2 → n1 Appended(term=6, ok=True, match=8, round=0)
n3 → n1 Appended(term=6, ok=True, match=8, round=0)
n1: 1 1 1 3 3 5 5 6
n2: 1 1 1 3 3 5 5 6
n3: 1 1 1 3 3 5 5 6
