"""Seed sets of the corpus, loaded once for a module's tests."""

from __future__ import annotations

import pytest

from tapml_fuzz.strategies import SeedSet, from_corpus


@pytest.fixture(scope="session")
def softmax() -> SeedSet:
    return from_corpus("softmax")


@pytest.fixture(scope="session")
def embedding() -> SeedSet:
    return from_corpus("embedding")


@pytest.fixture(scope="session")
def view() -> SeedSet:
    return from_corpus("view")
