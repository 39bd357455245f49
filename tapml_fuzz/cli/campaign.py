"""The composition of a campaign: corpus, platforms, runners, store, reports."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tapml_fuzz.campaign.lineup import Lineup
from tapml_fuzz.campaign.run import Campaign, CampaignOptions
from tapml_fuzz.core.errors import BadOption, UnavailablePlatform, UnknownOperator
from tapml_fuzz.core.events import CampaignFinished, Event, PlatformUnavailable
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.registry import candidates, references
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.reporting.files import write_reports
from tapml_fuzz.reporting.formats.terminal import Terminal
from tapml_fuzz.reporting.reproducers import reproducers
from tapml_fuzz.storage.corpus import Corpus, Entry
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.strategies.seed_set import seed_set_of


def conduct(
    seed_sets: Mapping[str, SeedSet],
    platforms: Sequence[str],
    options: CampaignOptions,
    output: Path,
    terminal: Terminal,
) -> RunSummary:
    """Fuzz `seed_sets` (by operator key) on `platforms` (none: the default ones) and write the reports; the summary.

    Raises `UnavailablePlatform`, or `UnknownOperator` for a kernel that implements none of them, before any trial.
    """
    torch.set_num_threads(1)  # the oracle's; every platform's worker has a thread of its own
    store = FindingStore(output)
    for note in store.notes:
        terminal.say(note)
    pool = _Pool()
    terminal.say("starting platforms (not counted in the budget)")
    try:
        reference = _reference_platform(pool)
        infos = _available(pool, platforms, reference, terminal)
        seed_sets = _implemented(seed_sets, [info for name, info in infos.items() if name != reference], terminal)

        def listen(event: Event) -> None:
            terminal(event)
            if isinstance(event, CampaignFinished):
                write_reports(output, event.summary)

        lineup = Lineup(reference, infos, lambda: pool.runner(reference, lineup.candidates))
        campaign = Campaign(seed_sets, lineup, store, options, listener=listen, writer=reproducers)
        with terminal:
            return campaign.run()
    finally:
        pool.close()


def load_seed_sets(corpus: Corpus, entries: Sequence[Entry]) -> dict[str, SeedSet]:
    """The seed sets of those entries that have seeds, by operator key."""
    return {e.operator.key: seed_set_of(corpus, e) for e in entries if e.seed_ids}


def _implemented(seed_sets: Mapping[str, SeedSet], infos: Sequence[Info], terminal: Terminal) -> dict[str, SeedSet]:
    """The seed sets that at least one candidate implements; says so of candidates that do not implement all.

    Raises `UnknownOperator` for a candidate that implements none of them.
    """
    kept: set[str] = set()
    for info in infos:
        matching = [key for key, seed_set in seed_sets.items() if seed_set.operator.matches(info.operators or ("*",))]
        kept.update(matching)
        if info.operators:
            wanted = ", ".join(info.operators)
            if not matching:
                raise UnknownOperator(
                    f"{info.name} implements {wanted}, which is not among the operators to fuzz",
                    hint="`corpus list` shows them; a header's operator, or user:MODULE:CALLABLE=OPERATOR, names one",
                )
            terminal.say(f"{info.name} implements {wanted}: {', '.join(matching)}")
    return {key: seed_set for key, seed_set in seed_sets.items() if key in kept}


class _Pool:
    """Sessions that were started to ask what a platform is, handed on to the first runner."""

    def __init__(self) -> None:
        self._idle: dict[str, WorkerSession] = {}
        self._lock = threading.Lock()

    def start(self, names: Sequence[str]) -> None:
        """Start workers side by side, without waiting."""
        for name in names:
            if name not in self._idle:
                self._idle[name] = WorkerSession(name)
                self._idle[name].start()

    def info(self, name: str) -> Info:
        self.start([name])
        return self._idle[name].info()

    def drop(self, name: str) -> None:
        self._idle.pop(name).close()

    def runner(self, reference: str, names: Sequence[str]) -> DifferentialRunner:
        with self._lock:
            self.start([reference, *names])
            return DifferentialRunner(reference, self._idle.pop(reference), {n: self._idle.pop(n) for n in names})

    def close(self) -> None:
        for name in list(self._idle):
            self.drop(name)


def _reference_platform(pool: _Pool) -> str:
    """The most mature platform that runs here: CUDA where there is a GPU, else the CPU."""
    *better, last = references()
    for name in better:
        if pool.info(name).available:
            return name
        pool.drop(name)
    return last


def _available(pool: _Pool, wanted: Sequence[str], reference: str, terminal: Terminal) -> Mapping[str, Info]:
    if wanted and set(wanted) == {reference}:
        hint = "name another; `platforms` lists them"
        raise BadOption(f"{reference} is the reference platform here, and is not compared with itself", hint=hint)
    names = [n for n in (wanted or candidates()) if n != reference]
    pool.start([reference, *names])
    infos: dict[str, Info] = {}
    for name in [reference, *dict.fromkeys(names)]:
        info = pool.info(name)
        if info.available:
            infos[name] = info
            continue
        pool.drop(name)
        if wanted or name == reference:
            raise UnavailablePlatform(f"{name} cannot run here: {info.reason}", hint=info.hint)
        terminal(PlatformUnavailable(name, info.reason, info.hint))
    if len(infos) < 2:
        raise UnavailablePlatform("no candidate platform can run here", hint="`platforms` says how to get one")
    return infos
