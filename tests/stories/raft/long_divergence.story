# n1 and n2 led in turn, each unheard by the other: their logs have nothing in common after the first entry, and
# what follows is of other terms. To find that out takes as many messages as there are terms, not entries. (§5.3)
nodes 3
past 1: 1 2 2 2 4 4 4 6 6 6 8 8
past 2: 1 3 3 3 5 5 5 7 7 7 9
past 3: 1
past term 9
hide AskPreVote PreVote RequestVote Vote saves commits discards losses

# n2's last entry is of term 9: it wins.
elect 2
heartbeat 2
terms 1 2 3
---
n2 follower → pre-candidate, term 9
n2 pre-candidate → candidate, term 10
n1 follower, term 10
n3 follower, term 10
n2 candidate → leader, term 10
n2 → n1 Append(term=10, prev=9.11, entries=[10.12 noop], commit=0, round=0)
n2 → n3 Append(term=10, prev=9.11, entries=[10.12 noop], commit=0, round=0)
n1 → n2 Appended(term=10, ok=False, match=11, round=0, conflict=8.11)
n3 → n2 Appended(term=10, ok=False, match=11, round=0, conflict=0.2)
n2 → n1 Append(term=10, prev=7.10, entries=[9.11 "9.11", 10.12 noop], commit=0, round=0)
n2 → n3 Append(term=10, prev=1.1, entries=[3.2 "3.2", 3.3 "3.3", 3.4 "3.4", 5.5 "5.5", 5.6 "5.6", 5.7 "5.7", 7.8 "7.8", 7.9 "7.9", 7.10 "7.10", 9.11 "9.11", 10.12 noop], commit=0, round=0)
n1 → n2 Appended(term=10, ok=False, match=10, round=0, conflict=6.8)
n3 → n2 Appended(term=10, ok=True, match=12, round=0)
n2 → n1 Append(term=10, prev=5.7, entries=[7.8 "7.8", 7.9 "7.9", 7.10 "7.10", 9.11 "9.11", 10.12 noop], commit=0, round=0)
n1 → n2 Appended(term=10, ok=False, match=7, round=0, conflict=4.5)
n2 → n1 Append(term=10, prev=3.4, entries=[5.5 "5.5", 5.6 "5.6", 5.7 "5.7", 7.8 "7.8", 7.9 "7.9", 7.10 "7.10", 9.11 "9.11", 10.12 noop], commit=12, round=0)
n1 → n2 Appended(term=10, ok=False, match=4, round=0, conflict=2.2)
n2 → n1 Append(term=10, prev=1.1, entries=[3.2 "3.2", 3.3 "3.3", 3.4 "3.4", 5.5 "5.5", 5.6 "5.6", 5.7 "5.7", 7.8 "7.8", 7.9 "7.9", 7.10 "7.10", 9.11 "9.11", 10.12 noop], commit=12, round=0)
n1 → n2 Appended(term=10, ok=True, match=12, round=0)
n2 → n1 Append(term=10, prev=10.12, entries=[], commit=12, round=0)
n2 → n3 Append(term=10, prev=10.12, entries=[], commit=12, round=0)
n1 → n2 Appended(term=10, ok=True, match=12, round=0)
n3 → n2 Appended(term=10, ok=True, match=12, round=0)
n1: 1 3 3 3 5 5 5 7 7 7 9 10
n2: 1 3 3 3 5 5 5 7 7 7 9 10
n3: 1 3 3 3 5 5 5 7 7 7 9 10
