"""float64 truth with a running error bound per element: what a correct implementation may return."""

from tapml_fuzz.core.errors import NoAnswer, NoTruth, OracleFailure
from tapml_fuzz.oracle.selection import Selection
from tapml_fuzz.oracle.truth import Truth, truth

__all__ = ["NoAnswer", "NoTruth", "OracleFailure", "Selection", "Truth", "truth"]
