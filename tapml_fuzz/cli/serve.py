"""`serve`: turn this machine into a device for other machines."""

from __future__ import annotations

import logging
import signal
import sys

import click

from tapml_fuzz.core.errors import BadOption, CannotServe

_HERE = "127.0.0.1"
_RISK = (
    "warning: TVM RPC has no authentication and no encryption: whoever can connect can run any program as you, "
    "read and write files"
)


@click.command()
@click.option("--host", default=_HERE, show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=9090, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
@click.option("--port-end", default=None, type=click.IntRange(1, 65535), help="Try the ports from --port up to this.")
@click.option("--tracker", default=None, metavar="HOST:PORT", help="Offer this device at a TVM RPC tracker.")
@click.option("--key", default="", metavar="KEY", help="Name of the device: at the tracker, or in its address.")
def serve(host: str, port: int, port_end: int | None, tracker: str | None, key: str) -> int:
    """Let other machines run platforms of this one: every name that `platforms` lists as available here.

    It is a TVM RPC server as well, so that TVM itself can run compiled modules on it. Each client has a process of its
    own, and each of its platforms a worker. It binds to loopback unless told otherwise: TVM RPC has no authentication,
    so give --host only in a network that you trust, or reach it through an SSH tunnel.

    \b
    Examples:
      python -m tapml_fuzz serve
      python -m tapml_fuzz run --platform tvm-opencl@rpc://127.0.0.1:9090
      ssh -L 9090:127.0.0.1:9090 board python -m tapml_fuzz serve
      python -m tapml_fuzz serve --host 0.0.0.0 --tracker 192.168.1.2:9190 --key board
      python -m tapml_fuzz run --platform tvm-opencl@tracker://192.168.1.2:9190/board
    """
    from tapml_fuzz.platforms.address import endpoint, is_loopback, parse, parse_endpoint
    from tapml_fuzz.platforms.remote.server import RpcServer, listening
    from tapml_fuzz.platforms.remote.tracker import TrackerError

    where = parse_endpoint(tracker, "--tracker") if tracker is not None else None
    if where is not None and not key:
        raise BadOption("--tracker needs a name for the device", hint="give --key NAME")
    if where is not None and is_loopback(host) and not is_loopback(where[0]):
        raise BadOption(f"the tracker would send clients to {host}", hint="give --host an address they can reach")
    parse(f"rpc://{_HERE}:1/{key}")  # the key's form
    try:
        listener = listening(host, port, port_end or port)
    except OSError as error:
        message = f"cannot listen on {endpoint(host, port)}: {error.strerror or error}"
        raise CannotServe(message, hint="give another --port, or --port-end") from error
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO, stream=sys.stderr)
    server = RpcServer(listener, key, where)
    if where is not None:
        try:
            server.register()
        except TrackerError as error:
            listener.close()
            raise CannotServe(str(error), hint="start it: python -m tvm.exec.rpc_tracker") from error
    _warn(host)
    click.echo(f"serving on {endpoint(host, server.port)}")
    url = f"tracker://{endpoint(*where)}/{key}" if where else f"rpc://{endpoint(_shown(host), server.port)}"
    click.echo(f"on the other machine: --platform NAME@{url}{f'/{key}' if key and not where else ''}")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    return 0


def _warn(host: str) -> None:
    from tapml_fuzz.platforms.address import is_loopback

    if is_loopback(host):
        click.echo(f"{_RISK}. Here: any user of this machine.", err=True)
    else:
        click.secho(f"{_RISK.upper()}. {host} is open to the network.", err=True, bold=True)


def _shown(host: str) -> str:
    """An address that a client can use; for the address of all interfaces, which is none, this machine's name."""
    import socket

    return socket.gethostname() if host in ("0.0.0.0", "::", "") else host
