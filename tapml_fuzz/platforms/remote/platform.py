"""A platform on another machine: `NAME@rpc://HOST:PORT` or `NAME@tracker://HOST:PORT/KEY`.

The server decides how: on one of ours (`python -m tapml_fuzz serve`) the platform itself runs there, in a worker; on
any other TVM RPC server the operator is compiled here and TVM's runtime runs it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.address import split
from tapml_fuzz.platforms.base import (
    BuildSpec,
    Info,
    MachineUnreachable,
    NotSupported,
    Platform,
    Reproducer,
    Unavailable,
    reproducer_of,
)
from tapml_fuzz.platforms.device_tensors import Resident, resident
from tapml_fuzz.platforms.remote.client import connect

_START = "start it there: python -m tapml_fuzz serve"


class Remote:
    """The platform `name` of another machine, by whichever way its server offers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._local_name, self._address = split(name)
        self._way: Platform | None = None

    def activate(self) -> Info:
        """See `base.Platform.activate`. Raises `Unavailable` where the machine is silent or has no such platform."""
        try:
            session = connect(self._address)
        except ImportError as error:
            raise Unavailable(f"TVM's RPC cannot be imported: {error}", "pip install 'tapml_fuzz[remote]'") from error
        except MachineUnreachable as error:
            raise Unavailable(str(error), _START) from error
        from tapml_fuzz.platforms.remote.served import Served, about
        from tapml_fuzz.platforms.remote.tvm import RemoteTvm

        served = about(session)
        way: Served | RemoteTvm
        if served is not None:
            way = Served(session, self._local_name)
        else:
            way = RemoteTvm(session, self._local_name, self._address.triple)
        self._way = way
        try:
            info = way.activate()
        except MachineUnreachable as error:
            raise Unavailable(str(error), _START) from error
        return msgspec.structs.replace(info, name=self.name, device=f"{info.device} at {self._address}")

    @property
    def resident_elsewhere(self) -> int:
        """Bytes of memory that the worker on the other machine had when it last said; 0 where there is none."""
        return int(getattr(self._way, "resident", 0))

    def build(self, spec: BuildSpec) -> Any:
        """See `base.Platform.build`. Raises `MachineUnreachable` too, when the machine no longer answers."""
        return self._there.build(spec)

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`. Raises `MachineUnreachable` too, when the machine no longer answers."""
        return self._there.run(build, tensors, layouts, sizes)

    def residence(self) -> Resident:
        """The platform's `Resident`, see `device_tensors.resident`.

        Tensors stay over there where TVM's runtime keeps them; our own server takes known ones by their hash.
        """
        return resident(self._there)

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """See `base.Reproducible`. The script runs on whichever machine it is started."""
        reproducer = reproducer_of(self._there, spec, sizes, layouts, careful=careful)
        if reproducer is None:
            raise NotSupported(f"{self._local_name} writes no script")
        return reproducer

    @property
    def _there(self) -> Platform:
        assert self._way is not None, "activate comes first"
        return self._way
