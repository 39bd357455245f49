"""Messages between the walk of two libraries and the process in which they run: msgpack, and raw tensor bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from tapml_fuzz.core.walk_summary import View

MAX_MESSAGE = 1 << 30  # bytes: a message is one tensor, and both processes hold it


class Job(msgspec.Struct, frozen=True):
    """The task with which the process is started: paths of two libraries, and the function to run."""

    a: str
    b: str
    main: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Both libraries are loaded.

    Attributes:
        parameters: names of the parameters of A's `main`.
        devices: the kinds of device that A and B run on, as TVM names them.
        versions: versions of the packages that run them.
    """

    parameters: tuple[str, ...]
    devices: tuple[str, str]
    versions: dict[str, str]


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Nothing can be done with these libraries or inputs."""

    reason: str


class Given(msgspec.Struct, frozen=True, tag="given"):
    """An input of `main`; its bytes are the next message."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class SurveyRequest(msgspec.Struct, frozen=True, tag="survey"):
    """Look at every call alone, then work out how far errors may grow. B's functions in `skip` are not called."""

    skip: tuple[str, ...]


class CheckRequest(msgspec.Struct, frozen=True, tag="check"):
    """Run A's `main` with the functions in `moved` taken from B."""

    moved: tuple[str, ...]


class OwnRequest(msgspec.Struct, frozen=True, tag="own"):
    """Run B's `main` as it is."""


class CallStarted(msgspec.Struct, frozen=True, tag="calling"):
    """About to run compiled code: what ends the process now is this."""

    number: int
    name: str
    whose: Literal["A", "A moved", "B"]


# "same": within its tolerance. "silent": no argument is an output, so there is nothing to compare.
Seen = Literal["same", "failed", "missing", "signature", "skipped", "silent"]


class CallFacts(msgspec.Struct, frozen=True):
    """One call alone, on what A's run gave it.

    Attributes:
        ratio: the largest distance between the libraries, over what is allowed.
        slack: what is allowed beside the size of the output: a smaller relative fault is not seen.
        terms: about how many input elements an output element depends on.
        shapes: of the arguments, for people; `elements` of input.
        seconds: of A's function and of B's.
    """

    number: int
    name: str
    seen: Seen
    ratio: float
    slack: float
    terms: float
    shapes: str
    elements: int
    reason: str = ""
    seconds: tuple[float, float] = (0.0, 0.0)


class Surveyed(msgspec.Struct, frozen=True, tag="surveyed"):
    """The answer to a `SurveyRequest`: every call of A's run, in order."""

    calls: tuple[CallFacts, ...]


class FusedValue(msgspec.Struct, frozen=True):
    """A value of a run: an output of a call, or of `main` (`number` is -1), and its distance over what is allowed."""

    number: int
    name: str
    output: int
    ratio: float


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    """A run of `main` beside A's own."""

    values: tuple[FusedValue, ...]
    view: View


class RunStopped(msgspec.Struct, frozen=True, tag="stopped"):
    """A run did not come to its end."""

    name: str
    reason: str


class OwnRun(msgspec.Struct, frozen=True, tag="own-run"):
    """B's `main` as it is.

    Attributes:
        functions: of B's that it calls, once each.
        outputs: of `main`, as in `Checked`; empty where its outputs have other shapes than A's.
        identical: whether they are those of the last `CheckRequest`, bit for bit.
    """

    functions: tuple[str, ...]
    outputs: tuple[FusedValue, ...]
    view: View | None
    identical: bool
    reason: str = ""


Request = Given | SurveyRequest | CheckRequest | OwnRequest
Reply = Ready | Refusal | CallStarted | Surveyed | Checked | RunStopped | OwnRun


def encoded(message: Request | Reply) -> bytes:
    """A message as the bytes that go to the other process."""
    return msgspec.msgpack.encode(message)


_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def request(raw: bytes) -> Request:
    """The request that the bytes hold; raises `msgspec.DecodeError` for any others."""
    return _requests.decode(raw)


def reply(raw: bytes) -> Reply:
    """The reply that the bytes hold; raises `msgspec.DecodeError` for any others."""
    return _replies.decode(raw)
