"""A lean engine for Hypothesis: each plan is drawn anew, none is a variation of one before.

A case costs a real home half a second, so that only executions count. Hypothesis's own engine spends its first cases on
small programs and then on near-duplicates of them; drawn afresh, a conjunctive leak took 10 cases instead of 28 (shared
study). The interface of backends is documented as unstable: `tests/test_lean.py` holds what is relied on.
"""

from __future__ import annotations

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

BACKEND = "ownframe"


class LeanProvider(HypothesisProvider):
    """Hypothesis's own way to draw single values, without its way to choose whole programs."""


AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{LeanProvider.__qualname__}"
