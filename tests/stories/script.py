"""Scenes written as text: commands, `---`, and what the transcript then says.

    # n3 missed an entry. It may campaign, but no majority will have it.
    campaign 3
    ---
    n3 follower → pre-candidate, term 1

A scene is made of such blocks, with a blank line between them; a block without `---` prepares. A
command is a method of `Story` with its arguments (`hold Append from 1 to 3`); everything settles after
each. The first block says how many `nodes` there are, which `settings` differ, which logs they bring with
them (`past 2: 1 1 4`, the terms of its entries; `past term 7`, the last they have seen), and which words
the transcript leaves out (`hide saves Append`); later blocks may `hide` and `show` others.
"""

from __future__ import annotations

from collections.abc import Callable

from ostraka.model.effects import Record
from ostraka.model.engine import Settings
from ostraka.model.ids import NodeId

from .raft.pasts import past
from .story import Story
from .words import words

LOOKS: dict[str, Callable[[Story, int], str]] = {
    "log": lambda story, n: ", ".join(story.log(n)) or "empty",
    "terms": lambda story, n: " ".join(map(str, story.terms(n))),
    "members": lambda story, n: words(story.status(n).members),
    "committed": lambda story, n: str(story.committed(n)),
    "role": lambda story, n: f"{story.role(n)}, term {story.term(n)}",
    "state": lambda story, n: story.state(n) or "empty",
}


def number(word: str) -> int | float | str:
    """The number that the word says, or the word."""
    try:
        return float(word) if "." in word else int(word)
    except ValueError:
        return word


def arguments(said: list[str]) -> tuple[list[int | float | str], dict[str, int | bool]]:
    """`1 a from 2 quietly` as positional and keyword arguments."""
    positional: list[int | float | str] = []
    named: dict[str, int | bool] = {}
    left = iter(said)
    for word in left:
        if word in ("from", "to"):
            named["sender" if word == "from" else "to"] = int(next(left))
        elif word in ("quietly", "keep", "first", "last"):
            named[word] = True
        else:
            positional.append(number(word))
    return positional, named


def perform(story: Story, line: str) -> None:
    """Carry out one command, and let its consequences settle."""
    verb, *said = line.split()
    if verb in LOOKS:
        story.transcript += [f"n{n}: {LOOKS[verb](story, int(n))}" for n in said]
        return
    if verb in ("hide", "show"):
        (story.hidden.update if verb == "hide" else story.hidden.difference_update)(said)
        return
    if verb == "partition":
        story.partition(*(map(int, side.split()) for side in " ".join(said).split("|")))
        return
    positional, named = arguments(said)
    getattr(story, verb)(*positional, **named)
    story.settle()


def opening(block: list[str]) -> Story:
    """The scene that the first block describes."""
    nodes, spare, hidden, settings = 3, 0, set[str](), dict[str, int]()
    pasts: dict[NodeId, list[int]] = {}
    seen = 0
    for line in block:
        match line.split():
            case ["nodes", count]:
                nodes = int(count)
            case ["spare", count]:
                spare = int(count)
            case ["hide", *words]:
                hidden.update(words)
            case ["settings", *pairs]:
                settings.update({name: int(number) for name, number in (pair.split("=") for pair in pairs)})
            case ["past", "term", term]:
                seen = int(term)
            case ["past", node, *terms]:
                pasts[int(node.rstrip(":"))] = [int(term) for term in terms]
            case other:
                raise ValueError(f"a scene does not begin with {other}")
    logs: dict[NodeId, list[Record]] = {node: past(terms, max(seen, *terms)) for node, terms in pasts.items()}
    story = Story(nodes, logs=logs, settings=Settings(**settings), spare=spare)
    story.hidden = hidden
    story.transcript.clear()
    return story


def play(text: str) -> str:
    """The same scene with the output that it has now."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    story: Story | None = None
    played = []
    for block in blocks:
        script = block[: block.index("---")] if "---" in block else block
        commands = [line for line in script if not line.startswith("#")]
        if commands and story is None:
            story = opening(commands)
        elif story is not None:
            for line in commands:
                perform(story, line)
            if "---" in block:
                script = [*script, "---", *(story.transcript or ["(nothing)"])]
            story.transcript.clear()
        played.append("\n".join(script))
    return "\n\n".join(played) + "\n"
