"""Seeds of random generators, one for every piece of work."""

from __future__ import annotations

import hashlib


def slice_seed(seed: int, key: str, number: int) -> int:
    """A seed of its own for every slice of every operator."""
    digest = hashlib.blake2b(repr((seed, key, number)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
