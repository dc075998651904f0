"""The error of everything that reads data made elsewhere."""

from tris_core.errors import InputError


class DataError(InputError):
    """A data file that cannot be used as it is. The message names the file, the row or id, the value and the fix."""
