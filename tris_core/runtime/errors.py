"""The one error that users can fix themselves, and how its text is printed."""


class InputError(ValueError):
    """Something given to the program cannot be used. The message names file and row, the value and the fix.

    Several `faults` are printed one per line. Commands print them without a traceback and exit with code 1.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(visible, self.faults))


def visible(text: str) -> str:
    """`text` with everything that could steer a terminal written out: control characters, line breaks, bidi marks.

    Names in annotations and archives are anybody's, and messages quote them.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """ "1 ref", "2 refs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
