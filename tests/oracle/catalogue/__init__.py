"""Operators with arguments to try them on: every family of the oracle's rules, small enough to run in milliseconds.

The oracle's tests try each on several distributions, and so does `benchmarks.calibration`, which fixes the oracle's
numbers by it. A new rule gets an entry here.
"""

from tests.oracle.catalogue.distributions import DISTRIBUTIONS, drawing
from tests.oracle.catalogue.entry import Entry, operator_of
from tests.oracle.catalogue.movement import movement
from tests.oracle.catalogue.pointwise import pointwise
from tests.oracle.catalogue.products import products
from tests.oracle.catalogue.reductions import normalisation, reductions

CATALOGUE = (*pointwise(), *reductions(), *normalisation(), *products(), *movement())

__all__ = ["CATALOGUE", "DISTRIBUTIONS", "Entry", "drawing", "operator_of"]
