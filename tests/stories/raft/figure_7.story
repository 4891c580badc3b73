# Figure 7. n1 comes to power in term 8. Of the others (a) to (f) some lack entries, some have uncommitted ones
# too many, and some both; n7 led terms 2 and 3 and crashed in each before it had committed anything. Whatever
# they have, n1's log replaces it. (§5.3)
nodes 7
past 1: 1 1 1 4 4 5 5 6 6 6
past 2: 1 1 1 4 4 5 5 6 6
past 3: 1 1 1 4
past 4: 1 1 1 4 4 5 5 6 6 6 6
past 5: 1 1 1 4 4 5 5 6 6 6 7 7
past 6: 1 1 1 4 4 4 4
past 7: 1 1 1 2 2 2 3 3 3 3 3
past term 7
hide AskPreVote PreVote saves discards commits

# (a), (b), (e) and (f) vote for n1. (c) and (d) have more than n1, and don't: they aren't needed.
hold Append
elect 1
terms 1 2 3 4 5 6 7
---
n1 follower → pre-candidate, term 7
n1 pre-candidate → candidate, term 8
n1 → n2 RequestVote(term=8, last=6.10)
n2 follower, term 8
n1 → n3 RequestVote(term=8, last=6.10)
n3 follower, term 8
n1 → n4 RequestVote(term=8, last=6.10)
n4 follower, term 8
n1 → n5 RequestVote(term=8, last=6.10)
n5 follower, term 8
n1 → n6 RequestVote(term=8, last=6.10)
n6 follower, term 8
n1 → n7 RequestVote(term=8, last=6.10)
n7 follower, term 8
n2 → n1 Vote(term=8, granted=True)
n3 → n1 Vote(term=8, granted=True)
n4 → n1 Vote(term=8, granted=False)
n5 → n1 Vote(term=8, granted=False)
n6 → n1 Vote(term=8, granted=True)
n1 candidate → leader, term 8
n7 → n1 Vote(term=8, granted=True)
n1: 1 1 1 4 4 5 5 6 6 6 8
n2: 1 1 1 4 4 5 5 6 6
n3: 1 1 1 4
n4: 1 1 1 4 4 5 5 6 6 6 6
n5: 1 1 1 4 4 5 5 6 6 6 7 7
n6: 1 1 1 4 4 4 4
n7: 1 1 1 2 2 2 3 3 3 3 3

# It sends each the no-op of its term first. Only (c) and (d) hold the entry before it, 6.10: they put the
# no-op in the place of what they had too much of.
deliver Append to 4
drop Append to 4
terms 4
---
n1 → n4 Append(term=8, prev=6.10, entries=[8.11 noop], commit=0, round=0)
n4 → n1 Appended(term=8, ok=True, match=11, round=0)
n4: 1 1 1 4 4 5 5 6 6 6 8

deliver Append to 5
drop Append to 5
terms 5
---
n1 → n5 Append(term=8, prev=6.10, entries=[8.11 noop], commit=0, round=0)
n5 → n1 Appended(term=8, ok=True, match=11, round=0)
n5: 1 1 1 4 4 5 5 6 6 6 8

# (a) lacks 6.10: its answer says that its log ends before. One step back, and it has all.
deliver Append to 2
deliver Append to 2
drop Append to 2
terms 2
---
n1 → n2 Append(term=8, prev=6.10, entries=[8.11 noop], commit=0, round=0)
n2 → n1 Appended(term=8, ok=False, match=10, round=0, conflict=0.10)
n1 → n2 Append(term=8, prev=6.9, entries=[6.10 "6.10", 8.11 noop], commit=0, round=0)
n2 → n1 Appended(term=8, ok=True, match=11, round=0)
n2: 1 1 1 4 4 5 5 6 6 6 8

# (b) lacks more, and it costs no more messages.
deliver Append to 3
deliver Append to 3
drop Append to 3
terms 3
---
n1 → n3 Append(term=8, prev=6.10, entries=[8.11 noop], commit=0, round=0)
n3 → n1 Appended(term=8, ok=False, match=10, round=0, conflict=0.5)
n1 → n3 Append(term=8, prev=4.4, entries=[4.5 "4.5", 5.6 "5.6", 5.7 "5.7", 6.8 "6.8", 6.9 "6.9", 6.10 "6.10", 8.11 noop], commit=11, round=0)
n3 → n1 Appended(term=8, ok=True, match=11, round=0)
n3: 1 1 1 4 4 5 5 6 6 6 8

# (e) has other entries of term 4 than n1. Its log is shorter: n1 goes to its end first, and hears that term 4
# begins there at 4. n1 has entries of term 4, too, up to 5: it goes on behind these.
deliver Append to 6
deliver Append to 6
deliver Append to 6
drop Append to 6
terms 6
---
n1 → n6 Append(term=8, prev=6.10, entries=[8.11 noop], commit=0, round=0)
n6 → n1 Appended(term=8, ok=False, match=10, round=0, conflict=0.8)
n1 → n6 Append(term=8, prev=5.7, entries=[6.8 "6.8", 6.9 "6.9", 6.10 "6.10", 8.11 noop], commit=11, round=0)
n6 → n1 Appended(term=8, ok=False, match=7, round=0, conflict=4.4)
n1 → n6 Append(term=8, prev=4.5, entries=[5.6 "5.6", 5.7 "5.7", 6.8 "6.8", 6.9 "6.9", 6.10 "6.10", 8.11 noop], commit=11, round=0)
n6 → n1 Appended(term=8, ok=True, match=11, round=0)
n6: 1 1 1 4 4 5 5 6 6 6 8

# (f) has terms 2 and 3, of which n1 has nothing: each is skipped in one step.
deliver Append to 7
deliver Append to 7
deliver Append to 7
deliver Append to 7
drop Append to 7
terms 7
---
n1 → n7 Append(term=8, prev=6.10, entries=[8.11 noop], commit=0, round=0)
n7 → n1 Appended(term=8, ok=False, match=10, round=0, conflict=3.7)
n1 → n7 Append(term=8, prev=5.6, entries=[5.7 "5.7", 6.8 "6.8", 6.9 "6.9", 6.10 "6.10", 8.11 noop], commit=11, round=0)
n7 → n1 Appended(term=8, ok=False, match=6, round=0, conflict=2.4)
n1 → n7 Append(term=8, prev=1.3, entries=[4.4 "4.4", 4.5 "4.5", 5.6 "5.6", 5.7 "5.7", 6.8 "6.8", 6.9 "6.9", 6.10 "6.10", 8.11 noop], commit=11, round=0)
n7 → n1 Appended(term=8, ok=True, match=11, round=0)
n7: 1 1 1 4 4 5 5 6 6 6 8

free
heartbeat 1
terms 1 2 3 4 5 6 7
committed 1 2 3 4 5 6 7
---
n1 → n2 Append(term=8, prev=8.11, entries=[], commit=11, round=0)
n1 → n3 Append(term=8, prev=8.11, entries=[], commit=11, round=0)
n1 → n4 Append(term=8, prev=8.11, entries=[], commit=11, round=0)
n1 → n5 Append(term=8, prev=8.11, entries=[], commit=11, round=0)
n1 → n6 Append(term=8, prev=8.11, entries=[], commit=11, round=0)
n1 → n7 Append(term=8, prev=8.11, entries=[], commit=11, round=0)
n2 → n1 Appended(term=8, ok=True, match=11, round=0)
n3 → n1 Appended(term=8, ok=True, match=11, round=0)
n4 → n1 Appended(term=8, ok=True, match=11, round=0)
n5 → n1 Appended(term=8, ok=True, match=11, round=0)
n6 → n1 Appended(term=8, ok=True, match=11, round=0)
n7 → n1 Appended(term=8, ok=True, match=11, round=0)
n1: 1 1 1 4 4 5 5 6 6 6 8
n2: 1 1 1 4 4 5 5 6 6 6 8
n3: 1 1 1 4 4 5 5 6 6 6 8
n4: 1 1 1 4 4 5 5 6 6 6 8
n5: 1 1 1 4 4 5 5 6 6 6 8
n6: 1 1 1 4 4 5 5 6 6 6 8
n7: 1 1 1 4 4 5 5 6 6 6 8
n1: 11
n2: 11
n3: 11
n4: 11
n5: 11
n6: 11
n7: 11
