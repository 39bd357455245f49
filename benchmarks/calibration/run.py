"""Ratios r = max |y - y*| / E of an ensemble of correct implementations; fixes the numbers in `oracle/constants.py`.

    python -m benchmarks.calibration.run [--seeds 10] [--device cpu|cuda] [--json FILE]

Every second control, by name, is held out: the numbers may be chosen by the others alone. `K` is right when no held-out
ratio exceeds 1, `GROWTH` when the sums' largest ratios come close to it from below. Ratios above 1 are listed one by
one: each is a rounding step the model forgot, or a defect of the implementation.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge import judge
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import truth
from tests.oracle import controls
from tests.oracle.catalogue import CATALOGUE, DISTRIBUTIONS, drawing, operator_of

ORDINARY = tuple(name for name in DISTRIBUTIONS if name != "special")


class Result(NamedTuple):
    family: str
    control: str
    distribution: str
    verdict: Verdict


def judged(outputs: tuple[Array, ...], name: str, args: list[Any], kwargs: dict[str, Any]) -> Verdict:
    operator, tensors = operator_of(name, args, kwargs)
    ok = Ok(outputs)
    return judge(Case(operator, {}, tensors), ok, truth(operator, tensors, {}), reference=ok)


def torch_results(seed: int, dtype: str, device: str) -> Iterator[Result]:
    """torch's kernels on every catalogue entry and distribution."""
    for distribution in DISTRIBUTIONS:
        for entry in CATALOGUE:
            rng = np.random.default_rng(seed)
            args, kwargs = entry.arguments(drawing(rng, distribution, dtype), rng)
            operator, tensors = operator_of(entry.name, args, kwargs)
            try:
                outputs = invoke.call(operator, [invoke.to_torch(t).to(device) for t in tensors], {})
            except (NotImplementedError, RuntimeError) as error:
                if "implemented" in str(error) or "Could not run" in str(error):
                    continue
                raise
            arrays = tuple(invoke.to_numpy(o) for o in outputs)
            verdict = judged(arrays, entry.name, args, kwargs)
            yield Result(f"{entry.family} {dtype}", f"torch {device} {entry.name}", distribution, verdict)


def own_results(seed: int) -> Iterator[Result]:
    """The controls of `controls.py` in float32."""
    for distribution in ORDINARY:
        rng = np.random.default_rng(seed)
        draw = drawing(rng, distribution, "float32")
        for n in (17, 384, 3000):
            x, a, b = draw(6, n), draw(4, n), draw(n, 5)
            for add_up in controls.SUMS:
                verdict = judged((add_up(x),), "aten.sum.dim_IntList", [x, [-1]], {})
                yield Result("sum orders", add_up.__name__, distribution, verdict)
                verdict = judged((add_up(a[:, None] * b.T[None]),), "aten.mm.default", [a, b], {})
                yield Result("matmul orders", add_up.__name__, distribution, verdict)
        if distribution in ("spread", "minute"):
            continue  # the squares and exponentials below leave float32 there
        x = draw(10, 384)
        for softmax in (controls.online_softmax, controls.softmax_by_exp2):
            verdict = judged((softmax(x),), "aten._softmax.default", [x, -1, False], {})
            yield Result("softmax ways", softmax.__name__, distribution, verdict)
        for moments in controls.MOMENTS:
            for folded in (False, True):
                normal = controls.layer_norm(x, moments, folded=folded, eps=1e-5)
                verdict = judged((normal,), "aten.layer_norm.default", [x, [384], None, None, 1e-5], {})
                yield Result("layer_norm ways", f"{moments.__name__} folded={folded}", distribution, verdict)


Halves = dict[str, list[float]]


def collect(seeds: int, device: str) -> tuple[dict[str, Halves], list[dict[str, Any]]]:
    """Ratios by family and half, and every result above the bound."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    outside: list[dict[str, Any]] = []
    for seed in range(seeds):
        results = [r for d in ("float32", "float16", "bfloat16") for r in torch_results(seed, d, device)]
        for result in [*results, *(own_results(seed) if device == "cpu" else ())]:
            verdict = result.verdict
            if verdict.kind is None:
                ratios[result.family, result.control].append(verdict.metrics.ratio)
            else:
                outside.append({**result._asdict(), "seed": seed, "verdict": f"{verdict.kind}: {verdict.message}"})
    return halved(ratios), outside


def halved(ratios: dict[tuple[str, str], list[float]]) -> dict[str, Halves]:
    """By family, the ratios of the controls that numbers may be chosen by and of those held out: every second one."""
    held_out = set(sorted({control for _, control in ratios})[1::2])
    families: dict[str, Halves] = defaultdict(lambda: {"calibration": [], "held out": []})
    for (family, control), values in ratios.items():
        families[family]["held out" if control in held_out else "calibration"] += values
    return families


def summary(values: list[float]) -> tuple[int, float, float]:
    """Count, median and maximum of the ratios that are not exactly zero by construction."""
    if not values:
        return 0, 0.0, 0.0
    return len(values), float(np.median(values)), float(np.max(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    warnings.simplefilter("ignore", RuntimeWarning)
    ratios, outside = collect(options.seeds, options.device)
    print(f"{'family':24s} {'calibration':>24s} {'held out':>24s}")
    table = {}
    for family, halves in sorted(ratios.items()):
        table[family] = {half: summary(values) for half, values in halves.items()}
        cells = [f"n={n:<5d} {median:.3f} {most:.3f}" for n, median, most in table[family].values()]
        print(f"{family:24s} {cells[0]:>24s} {cells[1]:>24s}")
    first = {(f["family"], f["control"]): f for f in reversed(outside)}
    for found in first.values():
        print(f"outside: {found['family']} {found['control']} {found['distribution']} {found['verdict'][:100]}")
    print(f"{len(outside)} outside the bound, {len(first)} of them different")
    if options.json:
        command = f"python -m benchmarks.calibration.run --seeds {options.seeds} --device {options.device}"
        versions = {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "device": options.device,
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        report = {
            "command": command,
            "versions": versions,
            "seeds": options.seeds,
            "families": table,
            "outside": list(first.values()),
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
