# n2 has an entry of a deposed leader, where the new leader has committed another one. A message that shows only
# what comes before it tells n2 how far all is committed. n2 commits what the message has shown, and not whatever
# it has at those indexes. (Figure 2, AppendEntries 5)
nodes 3
past 1: 1 1
past 2: 1 1 1
past 3: 1 1
past term 1
settings max_append=1
hide AskPreVote PreVote RequestVote Vote saves discards losses

# n1 leads term 2, and commits its no-op and "new" with n3.
only 1 3
elect 1
propose 1 new
heartbeat 1
terms 1 2 3
committed 1
---
n1 follower → pre-candidate, term 1
n1 pre-candidate → candidate, term 2
n3 follower, term 2
n1 candidate → leader, term 2
n1 → n3 Append(term=2, prev=1.2, entries=[2.3 noop], commit=0, round=0)
n3 → n1 Appended(term=2, ok=True, match=3, round=0)
n1 commits 1.1 "1.1"
n1 commits 1.2 "1.2"
n1 commits 2.3 noop
n1 → n3 Append(term=2, prev=2.3, entries=[2.4 "new"], commit=3, round=0)
n3 commits 1.1 "1.1"
n3 commits 1.2 "1.2"
n3 commits 2.3 noop
n3 → n1 Appended(term=2, ok=True, match=4, round=0)
n1 commits 2.4 "new"
n1 new: committed at 4
n1 → n3 Append(term=2, prev=2.4, entries=[], commit=4, round=0)
n3 commits 2.4 "new"
n3 → n1 Appended(term=2, ok=True, match=4, round=0)
n1: 1 1 2 2
n2: 1 1 1
n3: 1 1 2 2
n1: 4

# n2 is back, and the link to it breaks at once: n1 begins from the start, one entry in each message.
heal
hold Append to 2
break_link 1 2
deliver Append
terms 2
committed 2
---
n1 hears that its link to n2 broke
n1 → n2 Append(term=2, prev=0.0, entries=[1.1 "1.1"], commit=4, round=0)
n2 follower, term 2
n2 commits 1.1 "1.1"
n2 → n1 Appended(term=2, ok=True, match=1, round=0)
n2: 1 1 1
n2: 1

deliver Append
terms 2
committed 2
---
n1 → n2 Append(term=2, prev=1.1, entries=[1.2 "1.2"], commit=4, round=0)
n2 commits 1.2 "1.2"
n1 → n2 Append(term=2, prev=1.2, entries=[2.3 noop], commit=4, round=0)
n1 → n2 Append(term=2, prev=2.3, entries=[2.4 "new"], commit=4, round=0)
n2 commits 2.3 noop
n2 commits 2.4 "new"
n2 → n1 Appended(term=2, ok=True, match=2, round=0)
n2 → n1 Appended(term=2, ok=True, match=3, round=0)
n2 → n1 Appended(term=2, ok=True, match=4, round=0)
n2: 1 1 2 2
n2: 4

# Now comes what conflicts.
deliver Append
terms 2
committed 2
---
n2: 1 1 2 2
n2: 4
