"""The summary of a walk: made when it ends, and read by the JSON, the page and the benchmarks.

The fields are the keys of `offload.json`, but for two that are called there as they were from the beginning: `source`
is the reference platform, `source_nodes` what stays on it. A field is added with a default, so that summaries written
before it are still read.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType, field

# Stands for a distance that is infinite (a number where none may be, anything where it must be equal): JSON has no
# infinity.
ENDLESS = 1e300

Status = Literal["moved", "blocked", "unsupported"]
# Where a blocked unit failed: on its own calls, in the model though not alone, or by taking the process with it.
Where = Literal["", "alone", "model", "crash", "hang"]


class View(msgspec.Struct, frozen=True):
    """How the hybrid's result compares with the reference platform's, over all batches, as a user of the model sees it.

    Attributes:
        cosine: the smallest cosine between an embedding (or a position's logits) and the reference platform's.
        agreement: share of positions where both choose the same next token; None for a model without tokens.
        divergence: the largest Kullback-Leibler divergence of the next token's distribution, in nats; None likewise.
        same_text: whether greedy generation gives the same text, as it does when every token it chooses, each after
            the reference platform's tokens, is the reference platform's.
    """

    cosine: float
    agreement: float | None = None
    divergence: float | None = None
    same_text: bool | None = None

    def __str__(self) -> str:
        if self.agreement is None:
            return f"cosine {self.cosine:.9f}"
        text = "same text" if self.same_text else "other text"
        return f"{text}, {100 * self.agreement:.4g}% of next tokens equal, KL at most {self.divergence:.3g} nats"


class Growth(msgspec.Struct, frozen=True):
    """One value on the way of a failure through the model; both ratios are distances over what is allowed.

    `propagated`: in the hybrid run. `forced`: the step alone on the reference run's inputs, on the platform where it
    was; None where it was not run again.
    """

    step: str
    module: str
    key: str
    propagated: float
    forced: float | None = None


class UnitSummary(msgspec.Struct, frozen=True):
    """The result for one unit.

    Attributes:
        key, operator: of the signature, and its text for people; `calls` of it in the recordings.
        status, where, reason: see `Status` and `Where`; `reason` is one line.
        findings: ids of what was filed.
        partners: units moved before without which the model would not fail, smallest such set.
        noticed: whether the model left its bound with this unit on the target; None where that was not run.
        worst: the largest distance of a value in the model, over what is allowed, with this unit on the target; None
            where that was not run.
        growth: the failure's way through the model, in order.
        seconds: what settling it took.
    """

    key: str
    operator: str
    calls: int
    status: Status
    where: Where = ""
    reason: str = ""
    findings: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()
    noticed: bool | None = None
    worst: float | None = None
    view: View | None = None
    growth: tuple[Growth, ...] = ()
    seconds: float = 0.0


class FinalRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run with every moved unit on the target; where it did not run, `failure` says why and the rest is absent.

    `worst` is the largest distance of a value, `worst_value`, from the reference run's, over what is allowed; None
    also stands for infinity once it has been written.
    """

    failed: bool
    failure: str = ""
    worst: float | None = None
    worst_value: str = ""
    view: View | None = None


class FinalModelRun(FinalRun, frozen=True, kw_only=True, omit_defaults=True):
    """The final run of a model's graph.

    Attributes:
        seen: `view` in words.
        node_seconds: seconds inside the nodes, over all recordings.
        copied_bytes: by way, as in `torch-cpu -> tvm-llvm`; shared_tensors: those handed over without a copy.
    """

    seen: str = ""
    node_seconds: float | None = None
    copied_bytes: dict[str, int] | None = None
    shared_tensors: int | None = None


class OwnRunSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Library B as it is, beside library A; where its process ended, `failure` says how and the rest is absent.

    `worst` is the largest distance of a result from A's, over what is allowed; `view` is None where B gave no result.
    """

    failed: bool
    failure: str = ""
    worst: float | None = None
    view: View | UnsetType | None = UNSET
    identical_to_final: bool | None = None


class RecordingSummary(msgspec.Struct, frozen=True):
    """One recorded run: its operator calls, and the operators that ran on the host."""

    label: str
    nodes: int
    on_host: tuple[str, ...]


class NodeSummary(msgspec.Struct, frozen=True):
    """One operator call of a graph: where it ended, and its distance in the final run over what is allowed."""

    graph: str
    node: str
    module: str
    key: str
    status: Status
    ratio: float | None


class FunctionSummary(msgspec.Struct, frozen=True):
    """One fused function of two libraries.

    Attributes:
        alone: the largest distance of a call alone, over what is allowed.
        slack: the largest tolerance of a call, over the size of its output: a smaller relative fault is not seen.
        terms: about how many input elements an output element depends on, at most.
        seconds_a, seconds_b: what its calls took in either library.
    """

    name: str
    calls: int
    alone: float | None
    slack: float | None
    terms: float | None
    seconds_a: float
    seconds_b: float


class WalkSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The part that every walk's summary has.

    Attributes:
        model, digest, reference, target, versions: what was moved from where to where, and with what.
        units: what became of each, in the order walked; moved, blocked, unsupported: how many of each.
        elapsed_s: wall clock in seconds, of the last run alone when the walk was resumed.
        task: what the model does; `libraries` for two compiled libraries.
    """

    model: str
    digest: str
    reference: str = field(name="source")
    target: str
    versions: dict[str, str]
    units: tuple[UnitSummary, ...]
    moved: int
    blocked: int
    unsupported: int
    elapsed_s: float
    task: str


class ModelWalkSummary(WalkSummary, frozen=True, kw_only=True):
    """A walk of a model's graphs.

    Attributes:
        nodes: of the first recording of every graph, in order.
        reference_nodes: how many calls stay on the reference platform, over all graphs.
    """

    recordings: tuple[RecordingSummary, ...]
    nodes: tuple[NodeSummary, ...]
    reference_nodes: int = field(name="source_nodes")
    final: FinalModelRun


class LibrariesWalkSummary(WalkSummary, frozen=True, kw_only=True):
    """A walk from one compiled library to another.

    Attributes:
        devices: what A and B run on.
        functions: A's, in the order of its run; nodes: its calls of them; reference_nodes: those that stay in A.
        notes: what no unit says, one line each.
        own: B as it is.
    """

    devices: tuple[str, str]
    functions: tuple[FunctionSummary, ...]
    nodes: int
    reference_nodes: int = field(name="source_nodes")
    notes: tuple[str, ...]
    final: FinalRun
    own: OwnRunSummary
