"""Memory layouts: packed most of the time, otherwise one of the legal alternatives."""

from __future__ import annotations

from hypothesis import strategies as st

from tapml_fuzz.core.case import LAYOUTS, Layout

# Packed first, so that shrinking ends there; three of eight draws are something else.
layouts: st.SearchStrategy[Layout] = st.sampled_from(("contiguous",) * 5 + LAYOUTS[1:])
