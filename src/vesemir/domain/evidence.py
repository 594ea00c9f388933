"""How sure it is that errors are more than chance: a test that may be looked at after every second; pure.

The question is always the same: of ``trials`` things, ``hits`` were of one kind; if each was of that kind with a
probability of at most ``share``, is that still chance? It is asked twice:

- *Worse than the siblings?* Of the errors in some interval, how many are the canary's; ``share`` is its share of the
  requests in that interval. Only who got the errors counts, not how many there were: a database that is away for a
  moment makes errors everywhere and proves nothing.
- *Above the tolerance?* Of the canary's requests, how many are errors; ``share`` is ``max_error_ratio``.

A p-value that is looked at again and again lies: sooner or later it is small by chance. So a bet is kept instead. For
an odds ratio R, each interval multiplies a stake of 1 by ``R^hits / (1 + (R - 1) share)^trials``. Its expectation is at
most 1 if ``share`` holds: for the tolerance, because the hits are then binomial; for the siblings, because the errors
of an interval are spread over its requests without replacement, and Hoeffding (1963, theorem 4) shows that this has no
larger expectation of ``R^hits`` than with replacement. Such a product is a nonnegative supermartingale, and so is the
mean over several R. By Ville's inequality (1939) the probability that it EVER reaches ``1/a``, at whatever moment one
looks or stops, is at most ``a``. That is Wald's sequential test mixed over alternatives (Robbins, 1970), known today as
an e-process or always-valid p-value: Johari, Pekelis, Walsh, "Always Valid Inference" (2015); Turner, Ly, Grünwald,
"Generic E-variables for exact sequential k-sample tests" (2021). It is exact for counts as small as one.

What it supposes is that an error hits one server or another as its requests do. Clients that stick to a server and
fail there again and again are not so spread.
"""

import math

ODDS_RATIOS = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""How many times worse it may be: the mean of the bets loses to the best of them by a factor of 8 at most."""


class Evidence:
    """Against one ``share`` or a changing one. Mutable; kept in logarithms, because the bets grow without bound."""

    def __init__(self) -> None:
        self._bets = [0.0] * len(ODDS_RATIOS)

    def add(self, hits: int, trials: int, share: float) -> None:
        """One interval. ``share`` must not depend on how the interval went, but for how many requests each had."""
        for index, ratio in enumerate(ODDS_RATIOS):
            self._bets[index] += hits * math.log(ratio) - trials * math.log1p((ratio - 1) * share)

    @property
    def p_value(self) -> float:
        """Always valid: the probability is at most ``a`` that it is ever below ``a`` by chance."""
        top = max(self._bets)
        mean = top + math.log(sum(math.exp(bet - top) for bet in self._bets) / len(self._bets))
        return math.exp(-mean) if mean > 0 else 1.0
