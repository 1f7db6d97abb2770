"""Numbers of a summary, by key and coordinates."""

from transferscope.analyses.estimates import Estimate
from transferscope.analyses.summary import Summary

__all__ = ["estimate_of", "estimates_of"]


def estimates_of(summary: Summary, quantity: str, **at: str | float) -> list[Estimate]:
    """Those of a quantity at these coordinates, and any others."""
    return [item for item in summary.estimates if item.quantity == quantity and at.items() <= dict(item.at).items()]


def estimate_of(summary: Summary, quantity: str, **at: str | float) -> Estimate:
    """The one of a quantity at these coordinates."""
    (found,) = estimates_of(summary, quantity, **at)
    return found
