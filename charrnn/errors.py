"""What a user can get wrong: one family of exceptions, each a sentence that says what to do.

The command line prints the sentence and exits with 2; Python code catches ``CharRNNError``. A message names
a setting in backticks, `hidden_size`, as Python does; the command line shows it as --hidden-size.
"""

from types import UnionType

QUOTED = 200  # characters of a value that a message quotes at most


def brief(value: object, limit: int = QUOTED) -> str:
    """A value in a message: whole, or of a long one the beginning and the end."""
    try:
        text = str(value)
    except ValueError:  # an integer that Python writes in no decimal digits
        text = "of too many digits"
    return text if len(text) <= limit else f"{text[: limit - 50]}…{text[-49:]}"


def flag(name: str) -> str:
    """The flag of a field: hidden_size is --hidden-size."""
    return "--" + name.replace("_", "-")


def setting(name: str) -> str:
    """A field in a message: `hidden_size`, which the command line shows as its flag."""
    return f"`{name}`"


class CharRNNError(Exception):
    """Something the user can put right. The message says what was found, where, and the remedy."""


class ConfigError(CharRNNError):
    """A setting that does not exist, or a value that it cannot have."""


class ArgumentError(CharRNNError, TypeError):
    """An argument of a function that is of another type than it takes."""

    def __init__(self, name: str, value: object, expected: str):
        kind = type(value).__name__
        what = "None" if value is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        super().__init__(f"{name} is {what}; expected {expected}")


class TextError(CharRNNError):
    """A text that cannot be read, or cannot be trained on, or has unknown characters."""


class AnotherTextError(TextError):
    """A text that does not have the hash that was asked for."""


class RunError(CharRNNError):
    """A run folder that is missing, taken, damaged, or of another model."""


class DivergedError(CharRNNError):
    """The loss or the gradient stopped being a finite number, or the loss has exploded."""


class WorkerError(CharRNNError):
    """A process that shared the work has ended before it was told to."""


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop by a signal: after the step it was in, saved; or, asked twice, at once.

    A KeyboardInterrupt, so that scripts that train several models stop too. ``signal`` is the signal's
    number.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def check_type(name: str, value: object, kinds: type | UnionType, expected: str) -> None:
    """Raise an ArgumentError unless the argument ``name`` is of one of these types; says what is expected."""
    if not isinstance(value, kinds):
        raise ArgumentError(name, value, expected)
