"""Reductions, what is built on them, and selections."""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracle.catalogue.entry import Entry, simple


def reductions() -> Iterator[Entry]:
    for shape in ((4, 1000), (24, 48), (3, 7)):
        yield simple("sum", "sum.dim_IntList", [-1], shape=shape)
        yield simple("sum", "mean.dim", [-1], True, shape=shape)
        yield simple("variance", "var.correction", [-1], shape=shape, correction=1)
        yield simple("norm", "linalg_vector_norm.default", 2, [-1], shape=shape)
        yield simple("softmax", "_softmax.default", -1, False, shape=shape)
        yield simple("softmax", "_log_softmax.default", -1, False, shape=shape)
        yield simple("softmax", "logsumexp.default", [-1], shape=shape)
        yield simple("cumsum", "cumsum.default", -1, shape=shape)
    yield simple("sum", "sum.default")
    yield simple("sum", "mean.default")
    yield simple("sum", "sum.dim_IntList", [0, 1], shape=(8, 12, 10))
    yield simple("norm", "linalg_vector_norm.default", 1, [-1])
    yield simple("norm", "linalg_vector_norm.default", 3, [-1])
    yield simple("norm", "norm.ScalarOpt_dim", 2, [-1])
    yield simple("variance", "std.correction", [0], correction=0, keepdim=True)
    yield simple("variance", "var_mean.correction", [-1], correction=0)
    yield simple("softmax", "_softmax.default", 0, False)
    yield simple("movement", "amax.default", [-1])
    yield simple("movement", "amin.default", [0], True)
    yield simple("movement", "max.default")
    yield simple("product", "prod.dim_int", -1, shape=(24, 7))
    yield simple("selection", "argmax.default", -1)
    yield simple("selection", "argmin.default", 0, True)
    yield simple("selection", "argmax.default")
    yield simple("selection", "max.dim", -1)
    yield simple("selection", "min.dim", 0, True)
    yield simple("selection", "topk.default", 5)
    yield simple("selection", "sort.default", -1, True)
    yield simple("selection", "argsort.default", 0)
    yield simple("selection", "median.dim", -1)


def normalisation() -> Iterator[Entry]:
    for n in (48, 384):
        yield Entry(
            "normalisation",
            "aten.native_layer_norm.default",
            lambda d, _, n=n: ([d(12, n), [n], d(n), d(n), 1e-12], {}),  # type: ignore[misc]
        )
        yield Entry("normalisation", "aten.rms_norm.default", lambda d, _, n=n: ([d(12, n), [n], d(n), 1e-6], {}))  # type: ignore[misc]
    yield Entry("normalisation", "aten.layer_norm.default", lambda d, _: ([d(4, 6, 8), [6, 8]], {}))
    yield Entry("normalisation", "aten.group_norm.default", lambda d, _: ([d(2, 6, 10), 3, d(6), d(6)], {}))
    yield Entry(
        "normalisation",
        "aten.native_group_norm.default",
        lambda d, _: ([d(2, 6, 10), d(6), None, 2, 6, 10, 3, 1e-5], {}),
    )
    yield Entry("normalisation", "aten._fused_rms_norm.default", lambda d, _: ([d(5, 32), [32], d(32), None], {}))
    yield Entry(
        "normalisation",
        "aten._native_batch_norm_legit_no_training.default",
        lambda d, _: ([d(4, 6, 10), d(6), d(6), d(6), abs(d(6)), 0.1, 1e-5], {}),
    )
