"""Shapes that contradict a build are refused, whatever the runtime would make of them."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.platforms.base import BuildSpec
from tapml_fuzz.platforms.onnx.shapes import check_shapes
from tests.platforms.operators import SUB


@pytest.mark.parametrize("fixed", [{}, {"a": 2, "b": 3}], ids=["open axes", "fixed axes"])
def test_tensors_of_the_sizes_asked_for_pass_and_others_do_not(fixed: dict[str, int]) -> None:
    spec = BuildSpec(SUB, SUB.dtypes, fixed)
    sizes = dict.fromkeys(SUB.axis_names, 1) | {"a": 2, "b": 3}
    tensors = [np.zeros(shape, np.float32) for shape in SUB.shapes(sizes)]
    check_shapes(spec, tensors, sizes)
    with pytest.raises(ValueError, match="input 0 has shape"):
        check_shapes(spec, [tensors[0][..., :0], *tensors[1:]], sizes)
