"""The process in which two compiled libraries run: `python -m tapml_fuzz.offload.fused.worker JOB FD`.

It loads the two libraries that JOB names and no other, and answers requests on the stream socket FD, one at a time,
until the stream closes. What compiled code prints goes to stderr. The library under test shares this process's memory
with the one it is compared with, so whatever it destroys costs this process and nothing else.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from tapml_fuzz.core import lifeline
from tapml_fuzz.core.dtypes import Array, from_bits
from tapml_fuzz.offload.fused.library import Library, Unusable
from tapml_fuzz.offload.fused.messages import (
    MAX_MESSAGE,
    CheckRequest,
    Given,
    Job,
    OwnRequest,
    Ready,
    Refusal,
    Reply,
    SurveyRequest,
    encoded,
    request,
)
from tapml_fuzz.offload.fused.runs import FusedRuns
from tapml_fuzz.platforms.poison import perturb_fresh_memory

# An orphan that hangs in compiled code may not notice that nobody waits for it (`core.lifeline` says where). Seconds:
# several times the limit of a call (`process.Pair`), which ends it sooner.
_WATCHDOG_S = 900.0


def serve(job: Job, connection: Connection) -> None:
    """Load, then answer until the stream closes (`EOFError`)."""
    import tvm

    def say(reply: Reply) -> None:
        faulthandler.dump_traceback_later(_WATCHDOG_S, exit=True)
        connection.send_bytes(encoded(reply))

    a, b = Library(Path(job.a), job.main), Library(Path(job.b), job.main)
    perturb_fresh_memory()
    say(Ready(tuple(a.parameters), (a.device_kind, b.device_kind), {"tvm": tvm.__version__}))
    inputs: dict[str, Array] = {}
    runs = FusedRuns(a, b, inputs, say)
    while True:
        message = request(connection.recv_bytes(MAX_MESSAGE))
        match message:
            case Given(name, dtype, shape):
                inputs[name] = from_bits(connection.recv_bytes(MAX_MESSAGE), dtype, shape)
            case SurveyRequest(skip):
                say(runs.survey(frozenset(skip)))
            case CheckRequest(moved):
                say(runs.check(frozenset(moved)))
            case OwnRequest():
                say(runs.own())


def main(job: str, descriptor: int) -> None:
    """Serve, and never return."""
    lifeline.hold()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # when to stop is the decision of the process that started this one
    os.dup2(2, 1)
    connection, status = Connection(descriptor), 0
    try:
        serve(msgspec.json.decode(job, type=Job), connection)
    except Unusable as error:
        connection.send_bytes(encoded(Refusal(str(error))))
    except (EOFError, OSError):
        pass  # the other end is closed: the normal end
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    # GPU drivers register destructors that call into a Python already torn down.
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
