"""The error that a command reports without a traceback."""


class UserError(Exception):
    """Something the user can mend: its message names the file or argument, the reason, the remedy."""
