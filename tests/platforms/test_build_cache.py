"""Builds on disk: found again, never believed when broken, and no more than a folder may hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, NeedsStatic, Platform, info_of
from tapml_fuzz.platforms.build_cache import BuildCache, bound, cache_folder
from tapml_fuzz.platforms.onnx import export as onnx_program
from tapml_fuzz.platforms.onnx.iree import platform as iree
from tapml_fuzz.platforms.tvm import c as tvm_c
from tests.platforms.operators import MINILM, SUB


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    onnx_program._models.cache_clear()
    yield tmp_path
    onnx_program._models.cache_clear()


def never() -> bytes:
    raise AssertionError("it should have been found")


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_build_is_found_by_another_worker_under_the_same_parts_alone() -> None:
    first, second = BuildCache("x"), BuildCache("x")
    assert first.made(lambda: b"one", "source", "-O2") == b"one"
    assert second.made(never, "source", "-O2") == b"one"
    assert second.made(lambda: b"two", "source-", "O2") == b"two"
    assert second.made(lambda: b"three", b"source", "-O3") == b"three"
    assert BuildCache("y").made(lambda: b"four", "source", "-O2") == b"four"
    assert (second.hits, second.misses) == (1, 2)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw[:40] + b"?" + raw[41:]])
def test_damaged_file_is_made_anew(home: Path, damage: Callable[[bytes], bytes]) -> None:
    BuildCache("x").made(lambda: b"right" * 20, "source")
    (file,) = kept(home)
    file.write_bytes(damage(file.read_bytes()))
    assert BuildCache("x").made(lambda: b"again", "source") == b"again"
    assert BuildCache("x").made(never, "source") == b"again"


def test_failure_is_raised_and_not_kept(home: Path) -> None:
    def refused() -> bytes:
        raise BuildRejected("no")

    with pytest.raises(BuildRejected):
        BuildCache("x").made(refused, "source")
    assert kept(home) == []


def test_folder_that_cannot_be_had_only_keeps_nothing(home: Path) -> None:
    (home / "tapml-fuzz").write_text("in the way")
    assert BuildCache("x").made(lambda: b"one", "source") == b"one"


_WRITER = """
import sys
from tapml_fuzz.platforms.build_cache import BuildCache
cache, content = BuildCache("x"), sys.argv[1].encode() * 4_000_000
print("ready", flush=True)
for number in range(1000):
    assert cache.made(lambda: content, str(number % 3)) in (b"a" * 4_000_000, b"b" * 4_000_000)
    for path in cache._folder.iterdir():
        if number % 2 and not path.name.startswith("writing-"):
            path.unlink(missing_ok=True)
"""


def test_two_writers_and_a_kill_leave_only_whole_builds(home: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, letter], stdout=subprocess.PIPE) for letter in ("a", "b")
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.7)
        assert [writer.poll() for writer in writers] == [None, None], "one read what nobody wrote"
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    for number in range(3):
        found = BuildCache("x").made(lambda: b"none", str(number))
        assert found in (b"none", b"a" * 4_000_000, b"b" * 4_000_000)


def test_folder_keeps_what_was_used_last_up_to_its_limit(home: Path) -> None:
    folder = cache_folder("x")
    assert folder.is_relative_to(home)
    assert folder.stat().st_mode & 0o077 == 0
    outside = home / "outside"
    outside.write_bytes(bytes(100))
    (folder / "ab").mkdir()
    (folder / "link").symlink_to(outside)
    now = time.time()
    for age, name in enumerate(("new", "ab/older", "oldest")):
        (folder / name).write_bytes(bytes(40))
        os.utime(folder / name, (now - age, now - age))
    bound(folder, 1000)
    assert (folder / "oldest").exists()
    bound(folder, 85 + len(str(outside)))
    assert [(folder / name).exists() for name in ("new", "ab/older", "oldest")] == [True, True, False]
    assert outside.exists()


def activated(platform: Platform) -> Platform:
    info = info_of(platform)
    if not info.available:
        pytest.skip(f"{info.name}: {info.reason}")
    return platform


def test_compiler_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, dtypes = MINILM["gelu"], ("float32",)
    activated(iree.IreeLlvmCpu()).build(BuildSpec(operator, dtypes, {}))
    activated(tvm_c.TvmC()).build(BuildSpec(operator, dtypes, {}))

    def unwanted(*_: object) -> bytes:
        return never()

    for module, name in ((iree, "compile_mlir"), (onnx_program, "_made"), (tvm_c, "_library")):
        monkeypatch.setattr(module, name, unwanted)
    activated(iree.IreeLlvmCpu()).build(BuildSpec(operator, dtypes, {}))
    activated(tvm_c.TvmC()).build(BuildSpec(operator, dtypes, {}))
    with pytest.raises(NeedsStatic, match="should have been found"):  # what fails with open axes is tried with sizes
        activated(tvm_c.TvmC()).build(BuildSpec(SUB, dtypes * 2, {}))
