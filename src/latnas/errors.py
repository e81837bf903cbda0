"""What goes wrong by a user's hand or on a user's device, and the exit code that says so.

Every message says what is wrong, where, and the next command to type. Only the command line prints; a
`LatnasError` that reaches it becomes one message and an exit code, anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

FAILED = 1
WRONG_USAGE = 2
TARGET_MISSED = 3
INTERRUPTED = 130
TERMINATED = 143


class LatnasError(Exception):
    """Something failed that latnas can name: a broken file, a device that vanished."""

    code = FAILED


class UsageError(LatnasError):
    """The command asks for something that does not exist or does not fit together."""

    code = WRONG_USAGE


class TargetMissedError(LatnasError):
    """The work was done and its target was not met: a budget exceeded, a file that does not verify."""

    code = TARGET_MISSED


class Terminated(KeyboardInterrupt):
    """Someone told the process to end (SIGTERM), as a container does that is stopped. No error, as Ctrl-C is none."""


def how_stopped(stop: KeyboardInterrupt) -> tuple[str, int]:
    """The word for what ended the process, and its exit code."""
    return ("terminated", TERMINATED) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)


def one_line(message: str) -> str:
    """The message as a terminal may show it: names of files may hold line breaks and commands to the terminal.

    Lines of choices, which begin with two spaces and two dashes, stay lines.
    """
    choices = "\n  --"
    return choices.join(map(printable, message.split(choices)))


def printable(text: str) -> str:
    """The text with a question mark for each letter that a terminal does not show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
