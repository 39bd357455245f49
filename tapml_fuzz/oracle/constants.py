"""The few numbers of the error model that were measured rather than derived.

`python -m benchmarks.calibration.run` fixes them: it runs an ensemble of correct implementations (never a
candidate), takes the largest ratios over a calibration half and reports the other half.
"""

from __future__ import annotations

# E = unit roundoff of the output * |y*| + K * B. B is a first-order worst case over rounding steps, so a correct
# implementation stays below 1 with K = 1; K would only grow for a step that the decomposition does not have.
K = 1.0

# Rounding errors of a sum of n terms behave like a random walk: at most GROWTH * sqrt(n) * u * sum|t| (Higham and
# Mary 2019, theorem 2.4, has lambda * sqrt(n) * u with lambda about 5 for a vanishing failure rate; the partial
# sums of a natural order are on average sqrt(1/3) of the last, and one rounding is uniform in +-u).
GROWTH = 1.5

# That average fails where one term is most of the sum: then every partial sum after it is as large as the last, and the
# roundings' standard deviation sqrt(n / 3) * u * sum|t|; five of those. In between by the term's share of the sum.
DOMINATED = 5 / 3**0.5

# Up to this many terms no randomness is assumed: every rounding may point the same way. There n / 2 is no more than a
# third above 1.5 sqrt(n), so it costs little.
SYSTEMATIC_BELOW = 16
