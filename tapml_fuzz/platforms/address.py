"""Names of platforms on other machines: `NAME@rpc://HOST:PORT` and `NAME@tracker://HOST:PORT/KEY`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tapml_fuzz.core.errors import BadOption

_FORMS = "NAME@rpc://HOST:PORT or NAME@tracker://HOST:PORT/KEY"
# A key travels in TVM's handshake, which separates its words by spaces and names by colons.
_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRIPLE = re.compile(r"[A-Za-z0-9._-]{1,80}")
_HOST = re.compile(r"[A-Za-z0-9.:%_-]{1,255}")


@dataclass(frozen=True)
class Address:
    """The place of a device: behind an RPC server, or behind whichever server a tracker gives for `key`."""

    scheme: str  # "rpc" or "tracker"
    host: str
    port: int
    key: str = ""
    triple: str = ""  # LLVM's name of the processor there, for servers that cannot say

    def __str__(self) -> str:
        return f"{self.scheme}://{endpoint(self.host, self.port)}" + (f"/{self.key}" if self.key else "")


def endpoint(host: str, port: int) -> str:
    """The text `HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_remote(name: str) -> bool:
    """Whether a platform's name says that it is on another machine."""
    return "@" in name


def split(name: str) -> tuple[str, Address]:
    """The platform's name there and where that is; raises `BadOption` for an address that is none."""
    platform, _, url = name.partition("@")
    return platform, parse(url)


def parse(url: str) -> Address:
    """The address in `rpc://HOST:PORT[/KEY]` or `tracker://HOST:PORT/KEY`, perhaps with `?triple=`.

    Raises `BadOption` for any other text.
    """
    if not url.isprintable():  # `urlsplit` drops some of what is not
        raise _bad(url, "it has characters that cannot be printed")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(url, str(error)) from error
    if parts.scheme not in ("rpc", "tracker"):
        raise _bad(url, "it begins with neither rpc:// nor tracker://")
    if not parts.hostname or not port or not _HOST.fullmatch(parts.hostname) or parts.username or parts.fragment:
        raise _bad(url, "it needs a host and a port, and nothing but a key after them")
    option, _, triple = parts.query.partition("=")
    if parts.query and (option != "triple" or not _TRIPLE.fullmatch(triple)):
        raise _bad(url, "the only option is ?triple=, as in ?triple=aarch64-linux-android")
    key = parts.path.removeprefix("/")
    if parts.scheme == "tracker" and not key:
        raise _bad(url, "a tracker needs a key")
    if key and not _KEY.fullmatch(key):
        raise _bad(url, "a key is letters, digits, dots, dashes and underscores, 64 at most")
    return Address(parts.scheme, parts.hostname, port, key, triple)


def parse_endpoint(text: str, option: str) -> tuple[str, int]:
    """Host and port of an option's value `HOST:PORT`. Raises `BadOption` in the name of `option` for any other text."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        port = None
    if not port or not parts.hostname or parts.path or parts.query or parts.fragment or parts.username:
        raise BadOption(f"{option} {text!r} is not HOST:PORT", hint=f"as in {option} 127.0.0.1:9190")
    return parts.hostname, port


def is_loopback(host: str) -> bool:
    """Whether a host's name or address stands for this machine alone: `localhost`, `::1` or 127.0.0.0/8."""
    return host == "localhost" or host == "::1" or bool(re.fullmatch(r"127\.\d+\.\d+\.\d+", host))


def _bad(url: str, why: str) -> BadOption:
    return BadOption(f"cannot read the address {url[:200]!r}: {why}", hint=_FORMS)
