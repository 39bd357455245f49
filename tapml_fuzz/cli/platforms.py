"""`platforms`: list the platforms that can run here, and how to get the others."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.core.errors import BadOption

if TYPE_CHECKING:
    from tapml_fuzz.platforms.base import Info

_PLAIN_WIDTH = 120  # columns where the output is no terminal


@click.command()
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    default=None,
    metavar="FILE|-",
    help="Write the list as JSON to FILE, or to standard output.",
)
@click.option("--remote", default=None, metavar="URL", help="List those of another machine: rpc://HOST:PORT.")
def platforms(json_path: Path | None, remote: str | None) -> None:
    """List every known platform: whether it can run here, why not, how to get it, its dtypes and versions.

    One that is on request only is fuzzed when --platform of `run` names it. Each platform is tried in a process of
    its own, so a broken driver cannot break the list. Those of another machine are tried one after the other.

    \b
    Examples:
      python -m tapml_fuzz platforms
      python -m tapml_fuzz platforms --json -
      python -m tapml_fuzz platforms --remote rpc://127.0.0.1:9090
    """
    infos = probe() if remote is None else probe_remote(remote)
    if json_path is None:
        _print(infos)
        return
    text = _as_json(infos)
    if str(json_path) == "-":
        click.echo(text)
        return
    try:
        json_path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise BadOption(f"cannot write {json_path}: {error.strerror}", hint="give --json another path") from error


def probe() -> list[Info]:
    """Every known platform's `Info`; the workers start side by side."""
    from tapml_fuzz.platforms.registry import known
    from tapml_fuzz.platforms.session.isolated import WorkerSession

    sessions = [WorkerSession(name) for name in known()]
    try:
        for session in sessions:
            session.start()
        return [session.info() for session in sessions]
    finally:
        for session in sessions:
            session.close()


def probe_remote(url: str) -> list[Info]:
    """Every known platform's `Info` on the machine at `url`, one at a time: TVM's own server takes one client.

    Raises `BadOption` for text that is no address.
    """
    from tapml_fuzz.platforms.address import parse
    from tapml_fuzz.platforms.registry import known
    from tapml_fuzz.platforms.session.isolated import WorkerSession

    parse(url)
    infos = []
    for name in known():
        with WorkerSession(f"{name}@{url}") as session:
            infos.append(session.info())
    return infos


def _as_json(infos: list[Info]) -> str:
    import msgspec

    from tapml_fuzz.platforms.registry import on_request

    reasons = on_request()
    listed = [{**msgspec.to_builtins(info), "on_request": reasons.get(info.name, "")} for info in infos]
    return msgspec.json.format(msgspec.json.encode({"version": 1, "platforms": listed}), indent=2).decode()


def _print(infos: list[Info]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tapml_fuzz.platforms.registry import on_request

    reasons = on_request()
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _PLAIN_WIDTH
    console = Console(width=width, no_color=not terminal, highlight=False)
    table = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("platform", "available", "device, or how to get it", "dtypes", "versions"):
        table.add_column(title, overflow="fold")
    for info in infos:
        mark = "[green]yes[/]" if info.available else "[red]no[/]"
        dtypes = " ".join(info.capabilities.dtypes) if info.capabilities else ""
        versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
        table.add_row(info.name, mark, _escaped(_about(info, reasons.get(info.name, ""))), dtypes, _escaped(versions))
    console.print(table)


def _about(info: Info, on_request: str) -> str:
    if info.available:
        return f"{info.device}; on request only: {on_request}" if on_request else info.device
    return f"{info.reason}. To get it: {info.hint}" if info.hint else info.reason


def _escaped(text: str) -> str:
    """The text with its square brackets escaped, which rich reads as markup: `pip install 'tapml_fuzz[opencl]'`."""
    from rich.markup import escape

    return escape(text)
