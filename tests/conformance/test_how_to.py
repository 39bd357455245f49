"""The platform that docs/how-to/add-a-platform.md shows is one: it passes the kit as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.operators.invoke import to_numpy, to_torch
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tests.conformance import checks

_PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-platform.md"


def my_compiler() -> ModuleType:
    """The compiler of the page: torch runs the exported program."""

    def compile_program(program: torch.export.ExportedProgram) -> Any:
        module = program.module()

        def build(tensors: Sequence[Array]) -> list[Array]:
            with torch.no_grad():
                found = module(*(to_torch(tensor) for tensor in tensors))
            results = found if isinstance(found, tuple | list) else [found]
            return [to_numpy(result).copy() for result in results]

        return build

    made = ModuleType("my_compiler")
    vars(made).update(
        device="a processor", __version__="1.0", compile=compile_program, CompileError=type("E", (Exception,), {})
    )
    return made


@pytest.fixture(scope="module")
def session() -> Iterator[InProcessSession]:
    shown = re.search(r"<!-- platform -->\n```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert shown is not None
    names: dict[str, Any] = {"__name__": "my_platform"}
    exec(compile(shown[1], str(_PAGE), "exec"), names)  # noqa: S102 (the page under test)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "my_compiler", my_compiler())
        with InProcessSession(names["MyPlatform"]()) as made:
            yield made


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, from torch.export
@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_platform_of_the_page(check: checks.Check, session: InProcessSession) -> None:
    check(session)
