"""What a command reports in one line, without a traceback."""


class UserError(Exception):
    """Something the user can mend: its message names the file or argument, the reason, the remedy."""


class AudioWarning(UserWarning):
    """Something about a file that the user should know, and that did not stop the work."""
