"""Products of matrices, convolution, pooling and attention."""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracle.catalogue.entry import Entry, simple, two


def products() -> Iterator[Entry]:
    for k in (8, 64, 768):
        yield two("matmul", "mm.default", (12, k), (k, 10))
        yield Entry("matmul", "aten.addmm.default", lambda d, _, k=k: ([d(10), d(12, k), d(k, 10)], {}))  # type: ignore[misc]
    yield two("matmul", "bmm.default", (3, 12, 32), (3, 32, 10))
    both = {"beta": 0.5, "alpha": 2.0}
    for name in ("aten.baddbmm.default", "aten.addbmm.default"):
        yield Entry("matmul", name, lambda d, _: ([d(12, 10), d(3, 12, 32), d(3, 32, 10)], both))
    yield two("matmul", "matmul.default", (2, 3, 5, 32), (32, 4))
    yield Entry("matmul", "aten.linear.default", lambda d, _: ([d(5, 32), d(7, 32), d(7)], {}))
    yield two("matmul", "dot.default", (300,), (300,))
    yield Entry(
        "convolution",
        "aten.convolution.default",
        lambda d, _: ([d(2, 6, 9, 9), d(4, 3, 3, 3), d(4), [2, 1], [1, 1], [1, 1], False, [0, 0], 2], {}),
    )
    yield simple("sum", "avg_pool2d.default", [3, 3], [2, 2], [1, 1], shape=(2, 3, 9, 9))
    yield simple("movement", "max_pool2d.default", [3, 3], [2, 2], shape=(2, 3, 9, 9))
    yield simple("sum", "avg_pool1d.default", [3], [2], [1], shape=(2, 3, 9))
    yield simple("movement", "max_pool1d.default", [3], [2], shape=(2, 3, 9))
    yield Entry(
        "attention",
        "aten._scaled_dot_product_flash_attention_for_cpu.default",
        lambda d, _: ([d(2, 3, 10, 16), d(2, 3, 12, 16), d(2, 3, 12, 16)], {"scale": 0.2}),
    )
    yield Entry(
        "attention",
        "aten.scaled_dot_product_attention.default",
        lambda d, _: ([d(2, 3, 10, 16), d(2, 3, 12, 16), d(2, 3, 12, 16)], {}),
    )
