"""The one error that users can fix themselves, and how its text is printed."""


class InputError(ValueError):
    """The program cannot use its input. The message names file and row, the value and the fix.

    Each of several `faults` is printed on its own line. Commands print no traceback and exit with
    code 1.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(visible, self.faults))


def visible(text: str) -> str:
    """Escape whatever could control a terminal: control characters, newlines, bidi marks.

    Messages quote names from annotations and archives, which anybody may have written.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """ "1 ref", "2 refs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
