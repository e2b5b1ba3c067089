"""What a command reports in one line, without a traceback."""


class UserError(Exception):
    """Something the user can mend: its message names the file or argument, the reason, the remedy.

    The library knows no command line: ``option`` names the argument that mends it, to which a command adds
    its flag.
    """

    def __init__(self, message: str, option: str = ""):
        super().__init__(message)
        self.option = option


class AudioWarning(UserWarning):
    """Something about a file that the user should know, and that did not stop the work."""


def one_line(error: Exception) -> str:
    """What an exception says, in one line of at most 300 characters; its name where it says nothing.

    Example:
      >>> one_line(ValueError("two\\nlines")), one_line(MemoryError())
      ('two lines', 'MemoryError')
    """
    return " ".join(str(error).split())[:300] or type(error).__name__


def for_command(error: UserError) -> str:
    """The message as a command says it, with the flag of the option that mends it.

    Example:
      >>> for_command(UserError("x.wav: NaN samples; sanitize=True replaces them by zero", "sanitize"))
      'x.wav: NaN samples; sanitize=True replaces them by zero (--sanitize)'
    """
    return f"{error} (--{error.option})" if error.option else str(error)
