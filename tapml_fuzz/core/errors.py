"""Errors a user can put right: one line that names the thing, the cause and the hint, with a stable code."""

from __future__ import annotations


class TapmlFuzzError(Exception):
    """Base of every error raised on purpose; `code` is stable across releases."""

    code = "E000"
    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)


class UnknownOperator(TapmlFuzzError):
    """No operator of that name: torch has no such aten overload, or the corpus no such entry."""

    code = "E101"


class UnknownPlatform(TapmlFuzzError):
    """No platform of that name is registered."""

    code = "E102"


class UnavailablePlatform(TapmlFuzzError):
    """A platform that is known and cannot run here, or no longer answers."""

    code = "E103"


class BadCorpus(TapmlFuzzError):
    """A corpus, seed or finding that is missing, truncated, tampered with or of another format version."""

    code = "E201"


class BadModel(TapmlFuzzError):
    """A model that cannot be loaded, traced or recorded."""

    code = "E202"


class BadInputs(TapmlFuzzError):
    """A sentences file that cannot be read, or examples given to `check` that do not fit the operator."""

    code = "E203"


class BadOption(TapmlFuzzError):
    """An option with a value that makes no sense, or that cannot be followed here."""

    code = "E204"


class UnknownFinding(TapmlFuzzError):
    """No finding of that id, or none at all, in a folder."""

    code = "E205"


class BadKernel(TapmlFuzzError):
    """A kernel file of the user's that cannot be read, or whose header is not as it should be."""

    code = "E206"


class BadLibrary(TapmlFuzzError):
    """A compiled library that cannot be loaded, or whose functions cannot be run as asked."""

    code = "E207"


class CannotServe(TapmlFuzzError):
    """`serve` cannot begin: the port is taken, or the tracker does not answer."""

    code = "E301"


class NothingRan(TapmlFuzzError):
    """A run without a single trial: no statement about any platform can be made."""

    code = "E303"
    exit_code = 3


class MachineryFailure(TapmlFuzzError):
    """The fuzzer itself failed: no statement about any platform can be made."""

    code = "E900"
    exit_code = 3
