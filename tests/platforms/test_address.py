"""Names of remote platforms: what is understood, and one line for what is not."""

from __future__ import annotations

import pytest

from tapml_fuzz.core.errors import BadOption, UnknownPlatform
from tapml_fuzz.platforms.address import Address, is_loopback, parse, parse_endpoint, split
from tapml_fuzz.platforms.registry import known, location


@pytest.mark.parametrize(("url", "address"), [
    ("rpc://127.0.0.1:9090", Address("rpc", "127.0.0.1", 9090)),
    ("rpc://board.local:9090/key", Address("rpc", "board.local", 9090, "key")),
    ("rpc://[::1]:9090", Address("rpc", "::1", 9090)),
    ("tracker://10.0.0.2:9190/pixel-9", Address("tracker", "10.0.0.2", 9190, "pixel-9")),
    ("rpc://phone:5001?triple=aarch64-linux-android",
     Address("rpc", "phone", 5001, triple="aarch64-linux-android")),
])  # fmt: skip
def test_address_is_read(url: str, address: Address) -> None:
    assert parse(url) == address
    assert split(f"tvm-llvm@{url}") == ("tvm-llvm", address)
    assert location(f"tvm-llvm@{url}") == f"tapml_fuzz.platforms.remote.platform:Remote?tvm-llvm@{url}"
    assert parse(str(address)) == Address(address.scheme, address.host, address.port, address.key)


@pytest.mark.parametrize("url", [
    "", "127.0.0.1:9090", "http://127.0.0.1:9090", "rpc://127.0.0.1", "rpc://:9090", "rpc://h:0", "rpc://h:99999",
    "rpc://h:port", "rpc://user@h:1", "rpc://h:1/a b", "rpc://h:1/a:b", "rpc://h:1/a/b", "rpc://h:1?x=1",
    "rpc://h:1?triple=a;b", "rpc://h:1#x", "rpc://h\n:1", "tracker://h:1", "tracker://h:1/", "rpc://[::1:1",
])  # fmt: skip
def test_what_is_no_address_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(BadOption) as caught:
        location(f"tvm-llvm@{url}")
    assert "\n" not in str(caught.value)
    assert "NAME@rpc://HOST:PORT" in str(caught.value)


def test_platform_must_be_known_there_too() -> None:
    with pytest.raises(UnknownPlatform, match="tvm-llvm"):
        location("tvm-lvm@rpc://127.0.0.1:9090")
    assert not any("@" in name for name in known())


@pytest.mark.parametrize("text", ["", "9190", "host", "host:", "host:x", ":9190", "h:1/k", "u@h:1"])
def test_endpoint_of_an_option(text: str) -> None:
    assert parse_endpoint("10.0.0.2:9190", "--tracker") == ("10.0.0.2", 9190)
    with pytest.raises(BadOption, match="--tracker"):
        parse_endpoint(text, "--tracker")


def test_loopback_is_told_from_the_network() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "127.0.0.1.example.org", "")))
