"""Running a stored case again: on which platform, beside which reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tapml_fuzz
from tapml_fuzz.api.replay import replay_case
from tapml_fuzz.core.errors import BadInputs, UnavailablePlatform
from tapml_fuzz.core.operator import encode_operator
from tests.platforms.operators import SUB, case

GIVEN = case(SUB, a=2, b=3)


def test_a_platform_that_is_right_passes() -> None:
    verdict = tapml_fuzz.replay(
        "tvm-llvm", encode_operator(SUB).decode(), sizes=GIVEN.sizes, inputs=[torch.ones(2, 3), torch.ones(2, 3)]
    )
    assert verdict.kind is None


def test_the_reference_itself_can_be_replayed() -> None:
    replayed = replay_case("torch-cpu", GIVEN)
    assert (replayed.verdict.kind, replayed.reference) == (None, "torch-cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a CUDA device here")
def test_another_reference_stands_in_for_one_that_cannot_run_here() -> None:
    replayed = replay_case("tvm-llvm", GIVEN, "torch-cuda")
    assert (replayed.verdict.kind, replayed.reference) == (None, "torch-cpu")


def test_what_cannot_be_replayed_is_said() -> None:
    wrong = [np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)]
    with pytest.raises(BadInputs, match="do not fit"):
        tapml_fuzz.replay("torch-cpu", encode_operator(SUB).decode(), sizes=GIVEN.sizes, inputs=wrong)
    with pytest.raises(UnavailablePlatform, match="tvm-metal cannot run here"):
        replay_case("tvm-metal", GIVEN)
