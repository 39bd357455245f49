"""Errors a user can mend: one line that names the thing, the cause and the hint, with a stable code.

Every error of the project is here, so that no code is given twice; docs/reference/errors.md lists them. A code stays
with its meaning across releases, and one that is no longer used is not given again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath


class TapmlFuzzError(Exception):
    """Base of every error raised on purpose; only its subclasses are raised, each with a code of its own.

    `exit_code` is the command line's: 2 where the command has to be another one, 3 where nothing is known of any
    platform.
    """

    code = "E000"
    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)


# E1xx: a name that nothing has.


class UnknownOperator(TapmlFuzzError):
    """No operator, or none of the corpus, has this name, or the platforms at hand implement none of them."""

    code = "E101"


class UnknownPlatform(TapmlFuzzError):
    """No platform has this name."""

    code = "E102"


class UnavailablePlatform(TapmlFuzzError):
    """A platform that is known and cannot run here: a package, a driver or a device is missing."""

    code = "E103"


# E2xx: something given that cannot be used: an option, a file, a folder.


class BadCorpus(TapmlFuzzError):
    """A corpus, seed or finding that is missing, truncated, tampered with or of another format version."""

    code = "E201"


class BadModel(TapmlFuzzError):
    """A model that is not there, or that cannot be loaded offline, traced or run."""

    code = "E202"


class BadInputs(TapmlFuzzError):
    """Sentences or tensors that cannot be read, or examples that do not fit the operator."""

    code = "E203"


class BadOption(TapmlFuzzError):
    """A command, option or argument that is missing, unknown or makes no sense."""

    code = "E204"


class UnknownFinding(TapmlFuzzError):
    """No finding has this id, several have it, or there are none at all."""

    code = "E205"


class BadKernel(TapmlFuzzError):
    """A kernel file of the user's that cannot be read, or whose header is not as it should be."""

    code = "E206"


class BadLibrary(TapmlFuzzError):
    """A compiled library that cannot be loaded, or whose functions cannot be run as asked."""

    code = "E207"


class BadSummary(TapmlFuzzError):
    """A file that is not the summary of a run or walk, or of a later format."""

    code = "E208"


# E3xx: a service that cannot begin, a run that says nothing, an operator that the oracle cannot judge.


class CannotServe(TapmlFuzzError):
    """`serve` cannot begin: the port is taken, or the tracker does not answer."""

    code = "E301"


class NothingRan(TapmlFuzzError):
    """A run without a single trial: no statement about any platform can be made."""

    code = "E303"
    exit_code = 3


class NoTruth(TapmlFuzzError):
    """The operator has no single right answer (random numbers, uninitialised memory)."""

    code = "E304"


class NoAnswer(NoTruth):
    """The operator has one right answer, but not on this input."""

    code = "E302"


class OracleFailure(NoTruth):
    """Finding what is right raised an error: a defect of a rule, or of the callable that is followed."""

    code = "E305"

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the oracle failed: {type(error).__name__}: {error}")


# E9xx: the machine or the fuzzer itself.


class MachineryFailure(TapmlFuzzError):
    """The fuzzer itself failed: no statement about any platform can be made."""

    code = "E900"
    exit_code = 3


class SystemRefusal(TapmlFuzzError):
    """The operating system refuses a file or folder: the disk is full, or it may not be read or written."""

    code = "E901"
    exit_code = 3

    @classmethod
    def of(cls, error: OSError) -> SystemRefusal:
        """The refusal of the file or folder that the error names."""
        return cls(f"{error.filename}: {error.strerror or error}", hint=_HINTS.get(error.errno or 0, _HINT))


_FULL = "make room there, or choose a folder on another disk"
_LOCKED = "make it writable, or choose another folder"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _LOCKED,
    errno.EACCES: _LOCKED,
    errno.EPERM: _LOCKED,
    errno.ENOENT: "make it, or give another path",
    errno.EMFILE: "allow more open files: ulimit -n",
}
_HINT = "give another path, or run again with --debug for the traceback"


@contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """An `OSError` raised in here names `path`: that of a full disk names nothing, that of a temporary file, itself."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = fspath(path), None
        raise
