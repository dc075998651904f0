"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Something given to the program cannot be used. The message names file and row, the value and the fix.

    Commands print it without a traceback and end with exit code 1.
    """
