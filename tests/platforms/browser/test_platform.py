"""TVM's wasm and WGSL in a real browser: what goes wrong there is an outcome in seconds, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import gc
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.core.outcome import Built, Ok, RunError, Timeout
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, DeviceLost, info_of
from tapml_fuzz.platforms.browser import chromium as browser
from tapml_fuzz.platforms.browser import toolchain as tvmjs_toolchain
from tapml_fuzz.platforms.browser.platform import BrowserBuild, BrowserError, TvmWebGPUBrowser
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.browser_faults import patched
from tests.platforms.operators import MINILM, SUB, case

pytest.importorskip("tvm")

GIVEN = case(SUB, a=4, b=5)
EXPECTED = GIVEN.tensors[0] - GIVEN.tensors[1]
_SECONDS = 10.0  # within which the loss of a browser must be an outcome


@pytest.fixture(scope="module")
def platform() -> Iterator[TvmWebGPUBrowser]:
    made = TvmWebGPUBrowser()
    info = info_of(made)
    if not info.available:
        pytest.skip(f"tvm-webgpu-browser: {info.reason}; {info.hint}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def build(platform: TvmWebGPUBrowser) -> BrowserBuild:
    return platform.build(BuildSpec(SUB, SUB.dtypes, {}))


def difference(platform: TvmWebGPUBrowser, build: BrowserBuild) -> np.ndarray:
    (output,) = platform.run(build, GIVEN.tensors, GIVEN.layouts, GIVEN.sizes).outputs
    return output


def replace_in(platform: TvmWebGPUBrowser, build: BrowserBuild, old: bytes, new: bytes) -> BrowserBuild:
    """A build like `build`, with something else in its WGSL."""
    assert build.library is not None
    number = build.number + 1_000_000
    library = build.library.with_name(f"{number}.wasm")
    library.write_bytes(patched(build.library.read_bytes(), old, new))
    return dataclasses.replace(build, number=number, library=library)


def processes(folder: Path | str) -> dict[int, str]:
    """The command lines of the browser's own processes, by process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            if str(folder) in line:
                found[int(entry.name)] = line
    return found


def end(folder: Path | str, which: Callable[[str], bool]) -> None:
    chosen = [process for process, line in processes(folder).items() if which(line)]
    assert chosen
    for process in chosen:
        os.kill(process, signal.SIGKILL)


def soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def folder_of(session: WorkerSession) -> Path:
    """The folder of the browser of the session's worker, from the command line of the keeper's child."""
    assert session._worker is not None
    worker = session._worker._process.pid

    def parent(process: int) -> int:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])

    for process, line in processes("tapml-fuzz-browser-").items():
        if "--type=" not in line and parent(parent(process)) == worker:
            return Path(line.split("--user-data-dir=")[1].split()[0]).parent
    raise AssertionError("the worker has no browser")


def test_what_is_missing_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    info = info_of(TvmWebGPUBrowser())
    assert (info.available, info.reason) == (False, "no Chromium")
    assert "chromium" in info.hint
    with pytest.raises(tvmjs_toolchain.Missing, match="emcc"):
        tvmjs_toolchain.find_toolchain()
    monkeypatch.setenv("TVMJS", str(tmp_path))
    with pytest.raises(tvmjs_toolchain.Missing) as caught:
        tvmjs_toolchain.find_tvmjs()
    assert caught.value.hint.startswith("npm install --prefix")


def test_a_browser_that_shows_no_page_is_unavailable(
    platform: TvmWebGPUBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMIUM", "false")
    info = info_of(TvmWebGPUBrowser())
    assert not info.available
    assert "status 1" in info.reason


def test_a_program_that_is_no_browser_says_how_it_ended() -> None:
    """Whoever lacks a browser sees here that the keeper starts what it is given, and tells its exit status."""
    pytest.importorskip("websockets")
    with pytest.raises(browser.Gone, match="status 1"):
        browser.Browser("/bin/false", {})


def test_a_compiler_that_is_slow_goes_on_and_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker waits no longer than it may; what it started goes on, and leaves no process that nobody waits for."""
    compiler = tmp_path / "emcc"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "emcc (a slow one) 9.9.9 (x)" || exec sleep 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tvmjs_toolchain, "_WAIT_S", 0.3)
    with pytest.raises(tvmjs_toolchain.Missing, match="still being compiled"):
        tvmjs_toolchain.find_toolchain()
    gc.collect()


def test_runs_in_the_browser(platform: TvmWebGPUBrowser, build: BrowserBuild) -> None:
    np.testing.assert_array_equal(difference(platform, build), EXPECTED)
    assert "swiftshader" in platform.activated.device
    assert "@compute" in build.source


def test_shader_that_the_browser_refuses_is_a_build_error_with_its_source(platform: TvmWebGPUBrowser) -> None:
    """TVM prints infinity as `inff`, which WGSL does not have."""
    with pytest.raises(BuildRejected, match=r"invalid shader: \d+:\d+: unresolved value 'inff'") as caught:
        platform.build(BuildSpec(MINILM["clamp"], ("float32",), {}))
    assert "inff" in caught.value.source


def test_wasm_trap_is_an_error_and_the_next_run_is_right(platform: TvmWebGPUBrowser, build: BrowserBuild) -> None:
    """Built for other sizes: the host code, in WebAssembly, finds so."""
    other = platform.build(BuildSpec(SUB, SUB.dtypes, {"a": 2, "b": 3}))
    with pytest.raises(BrowserError, match=r"wasm trap: .*Mismatched"):
        difference(platform, dataclasses.replace(other, program=build.program))
    np.testing.assert_array_equal(difference(platform, build), EXPECTED)


def test_gpu_validation_error_is_never_a_result(platform: TvmWebGPUBrowser, build: BrowserBuild) -> None:
    """A kernel that wants more scalars than tvmjs binds: without a look at WebGPU's errors its output is the poison."""
    greedy = replace_in(platform, build, b"packGridDimX: u32", b"packGridDimX: u32, more: vec4<u32>")
    with pytest.raises(BrowserError, match=r"GPUValidationError: .*binding 3 is too small"):
        difference(platform, greedy)
    np.testing.assert_array_equal(difference(platform, build), EXPECTED)


def test_unwritten_elements_are_counted(platform: TvmWebGPUBrowser, build: BrowserBuild) -> None:
    idle = replace_in(platform, build, b"> podArgs.packGridDimX", b">= 0")
    assert platform.run(idle, GIVEN.tensors, GIVEN.layouts, GIVEN.sizes).unwritten == (EXPECTED.size,)


def test_more_operators_than_are_kept_loaded(
    platform: TvmWebGPUBrowser, build: BrowserBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapml_fuzz.platforms.browser.platform._LOADED", 1)
    second = dataclasses.replace(build, number=build.number + 2_000_000)
    for _ in range(2):
        np.testing.assert_array_equal(difference(platform, build), EXPECTED)
        np.testing.assert_array_equal(difference(platform, second), EXPECTED)
    assert list(platform._loaded) == [second.number]


def test_page_is_for_those_who_know_the_token(platform: TvmWebGPUBrowser) -> None:
    import urllib.error
    import urllib.request

    address, token = platform._browser.address, platform._browser._token
    for path, status in (("/", 404), ("/page.html", 404), (f"/{token}/socket", 403), (f"/{token}/../x", 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(address + path, timeout=5)
        assert caught.value.code == status
        caught.value.close()
    with urllib.request.urlopen(f"{address}/{token}/page.js", timeout=5) as answer:
        assert b"WebSocket" in answer.read()
        assert "'unsafe-eval'" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("victim", ["renderer", "gpu-process"])
def test_death_is_an_outcome_in_seconds_and_leaves_nothing(platform: TvmWebGPUBrowser, victim: str) -> None:
    """The renderer is the tab's process."""
    doomed = TvmWebGPUBrowser()
    assert info_of(doomed).available
    folder = doomed._browser.folder
    try:
        build = doomed.build(BuildSpec(SUB, SUB.dtypes, {}))
        end(folder, lambda line: f"--type={victim}" in line)
        started = time.monotonic()
        with pytest.raises(DeviceLost):
            difference(doomed, build)
        assert time.monotonic() - started < _SECONDS
    finally:
        doomed.close()
    assert not folder.exists()
    assert soon(lambda: not processes(folder))


def test_killed_browser_costs_the_worker_and_the_next_run_has_another(platform: TvmWebGPUBrowser) -> None:
    with WorkerSession("tvm-webgpu-browser") as session:
        assert isinstance(session.run(GIVEN), Ok)
        folder = folder_of(session)
        end(folder, lambda line: "--type=" not in line)
        assert soon(lambda: not folder.exists())
        assert not processes(folder)
        started = time.monotonic()
        lost = session.run(GIVEN)
        assert isinstance(lost, RunError), lost
        assert time.monotonic() - started < _SECONDS
        again = session.run(GIVEN)
        assert isinstance(again, Ok), again
        np.testing.assert_array_equal(again.outputs[0], EXPECTED)
        assert session.restarts == 1


def test_endless_kernel_is_ended_and_no_browser_outlives_its_worker(platform: TvmWebGPUBrowser) -> None:
    """The worker is killed, not asked; the browser and its folder go with it."""
    where = "tests.platforms.browser_faults:Endless"
    with WorkerSession("endless", where=where, run_timeout=2) as session:
        assert isinstance(session.build(SUB, SUB.dtypes, GIVEN.sizes), Built)
        folder = folder_of(session)
        assert len(processes(folder)) > 3
        assert isinstance(session.run(GIVEN), Timeout)
    assert soon(lambda: not processes(folder))
    assert soon(lambda: not folder.exists())


def test_browser_ends_with_its_keeper_too(platform: TvmWebGPUBrowser) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("only Linux kills a process with its parent")
    chromium = browser.find_chromium()
    assert chromium is not None
    page = Path(browser.__file__).with_name("page")
    alone = browser.Browser(chromium, {"page.html": page / "page.html", "page.js": page / "page.js"})
    folder = alone.folder
    try:
        alone._keeper.kill()
        assert soon(lambda: not processes(folder))
    finally:
        alone.close()
        shutil.rmtree(folder)
