"""Putting a campaign together: what the corpus has, what the candidates implement, what can run here."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from tapml_fuzz.campaign.run import CampaignOptions
from tapml_fuzz.cli import campaign as module
from tapml_fuzz.cli.campaign import conduct, load_seed_sets
from tapml_fuzz.cli.selection import select_operators
from tapml_fuzz.core.errors import BadOption, UnavailablePlatform, UnknownOperator
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.reporting.formats.terminal import Terminal
from tapml_fuzz.strategies import SeedSet


@pytest.fixture(scope="module")
def seed_sets() -> dict[str, SeedSet]:
    return load_seed_sets(*select_operators(None, ["tanh", "softmax"]))


def test_operators_without_seeds_are_left_out(seed_sets: dict[str, SeedSet]) -> None:
    corpus, entries = select_operators(None, ["tanh", "softmax"])
    assert list(seed_sets) == [entry.key for entry in entries]
    tanh, softmax = entries
    assert list(load_seed_sets(corpus, [replace(tanh, records=()), softmax])) == [softmax.key]


def test_a_kernel_is_given_only_what_it_implements(seed_sets: dict[str, SeedSet]) -> None:
    said = io.StringIO()
    kernel = Info("mine", True, operators=("tanh",))
    kept = module._implemented(seed_sets, [kernel], Terminal(said))
    assert [s.operator.short_name for s in kept.values()] == ["tanh"]
    assert said.getvalue().startswith("mine implements tanh: tanh-")
    everything = Info("all", True)
    assert module._implemented(seed_sets, [kernel, everything], Terminal(said)) == seed_sets
    with pytest.raises(UnknownOperator, match="mine implements gelu, which is not among the operators to fuzz"):
        module._implemented(seed_sets, [Info("mine", True, operators=("gelu",))], Terminal(said))


def test_a_platform_that_was_asked_for_and_cannot_run_ends_it_before_any_trial(
    seed_sets: dict[str, SeedSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def info(pool: object, name: str) -> Info:
        return Info(name, name == "torch-cpu", reason="no driver", hint="get one")

    monkeypatch.setattr(module._Pool, "info", info)
    monkeypatch.setattr(module._Pool, "start", lambda pool, names: None)
    monkeypatch.setattr(module._Pool, "drop", lambda pool, name: None)
    options, said = CampaignOptions(Budget.parse("1trials")), io.StringIO()
    with pytest.raises(UnavailablePlatform, match=r"tvm-opencl cannot run here: no driver \(get one\)"):
        conduct(seed_sets, ["tvm-opencl"], options, tmp_path, Terminal(said))
    with pytest.raises(BadOption, match="torch-cpu is the reference platform here, and is not compared with itself"):
        conduct(seed_sets, ["torch-cpu"], options, tmp_path, Terminal(said))
    with pytest.raises(UnavailablePlatform, match="no candidate platform can run here"):
        conduct(seed_sets, [], options, tmp_path, Terminal(said))
    assert "tvm-opencl: not available here: no driver (get one)" in said.getvalue()
