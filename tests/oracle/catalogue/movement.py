"""Operators that move data, fill it in or convert it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapml_fuzz.core.operator import DType
from tests.oracle.catalogue.entry import Entry, indices, simple


def movement() -> Iterator[Entry]:
    yield simple("movement", "permute.default", [2, 0, 1], shape=(3, 4, 5))
    yield simple("movement", "view.default", [12, 5], shape=(3, 4, 5))
    yield simple("movement", "view.dtype", DType("int16"))
    yield simple("movement", "expand.default", [6, 24, 48])
    yield simple("movement", "slice.Tensor", 1, 3, 40, 2)
    yield simple("movement", "select.int", 0, 3)
    yield simple("movement", "unsqueeze.default", 1)
    yield simple("movement", "squeeze.dim", 1, shape=(5, 1, 4))
    yield simple("movement", "clone.default")
    yield from (simple("movement", f"{name}.default") for name in ("alias", "contiguous", "detach", "lift_fresh", "t"))
    yield simple("movement", "flip.default", [1])
    yield simple("movement", "chunk.default", 3, 1)
    yield simple("movement", "split.Tensor", 10, 1)
    yield simple("movement", "split_with_sizes.default", [20, 28], 1)
    yield simple("movement", "unbind.int", shape=(3, 4))
    yield simple("movement", "unfold.default", 1, 5, 3)
    yield simple("movement", "diagonal.default")
    yield simple("movement", "flatten.using_ints")
    yield simple("movement", "unflatten.int", 1, [6, 8])
    yield simple("movement", "movedim.int", 0, 1)
    yield simple("movement", "narrow.default", 1, 3, 9)
    yield simple("movement", "reshape.default", [48, 24])
    yield simple("movement", "tile.default", [2, 1])
    yield simple("movement", "transpose.int", 0, 1)
    yield simple("movement", "fill.Scalar", 0.1)
    yield simple("movement", "full_like.default", 0.1)
    yield simple("movement", "ones_like.default")
    yield simple("movement", "zeros_like.default")
    yield simple("movement", "new_full.default", [2, 3], 0.1)
    yield simple("movement", "new_ones.default", [2, 3])
    yield simple("movement", "new_zeros.default", [2, 3])
    yield Entry("movement", "aten.type_as.default", lambda d, _: ([d(2, 3), d(1)], {}))
    yield Entry("movement", "aten.slice_scatter.default", lambda d, _: ([d(6, 9), d(6, 3), 1, 2, 5], {}))
    yield Entry("movement", "aten.select_scatter.default", lambda d, _: ([d(6, 9), d(9), 0, 2], {}))
    yield Entry("movement", "aten.diagonal_scatter.default", lambda d, _: ([d(6, 6), d(6)], {}))
    yield Entry("movement", "aten.take.default", lambda d, r: ([d(6, 9), indices(r, 54, 7)], {}))
    yield Entry("movement", "aten.take_along_dim.default", lambda d, r: ([d(6, 9), indices(r, 9, 6, 2), 1], {}))
    yield simple("movement", "roll.default", [3], [1])
    yield simple("movement", "repeat.default", [2, 1, 2])
    yield simple("movement", "tril.default")
    yield simple("movement", "triu.default", 1)
    yield simple("movement", "constant_pad_nd.default", [1, 2, 0, 1], 0.1)
    yield Entry("movement", "aten.cat.default", lambda d, _: ([[d(3, 4), d(2, 4)]], {}))
    yield Entry("movement", "aten.stack.default", lambda d, _: ([[d(3, 4), d(3, 4)], 1], {}))
    yield Entry("movement", "aten.embedding.default", lambda d, r: ([d(30, 8), indices(r, 30, 4, 5), 0], {}))
    yield Entry("movement", "aten.gather.default", lambda d, r: ([d(6, 9), 1, indices(r, 9, 6, 4)], {}))
    yield Entry("movement", "aten.index_select.default", lambda d, r: ([d(6, 9), 1, indices(r, 9, 5)], {}))
    yield Entry("movement", "aten.index.Tensor", lambda d, r: ([d(6, 9), [None, indices(r, 9, 5)]], {}))
    yield Entry("movement", "aten.where.self", lambda d, r: ([r.random((6, 9)) < 0.5, d(6, 9), d(9)], {}))
    yield Entry("movement", "aten.masked_fill.Scalar", lambda d, r: ([d(6, 9), r.random((6, 9)) < 0.5, 0.1], {}))
    yield Entry(
        "movement",
        "aten.scatter.src",
        lambda d, r: ([d(6, 9), 1, np.stack([r.permutation(9)[:4] for _ in range(6)]), d(6, 4)], {}),
    )
    yield Entry("movement", "aten.scatter.value", lambda d, r: ([d(6, 9), 1, indices(r, 9, 6, 4), 0.3], {}))
    yield Entry("movement", "aten.index_copy.default", lambda d, r: ([d(6, 9), 1, r.permutation(9)[:4], d(6, 4)], {}))
    yield Entry(
        "sum",
        "aten.index_put.default",
        lambda d, r: ([d(6, 4), [indices(r, 6, 40)], d(40, 4), True], {}),
    )
    for target in ("float16", "float32", "bool"):
        yield Entry("cast", "aten._to_copy.default", lambda d, _, t=target: ([d(6, 9)], {"dtype": DType(t)}))  # type: ignore[misc]
    yield Entry("cast", "aten._to_copy.default", lambda d, _: ([np.clip(d(6, 9), -99, 99)], {"dtype": DType("int32")}))
