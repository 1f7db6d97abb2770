"""Data: sources, the store of decoded images, splits, batches.

Light on purpose: settings are imported from here without decoding libraries or torch. The rest is in
:mod:`~transferscope.data.store`, :mod:`~transferscope.data.splits` and :mod:`~transferscope.data.batches`.
"""

from transferscope.data.sources import DataSource, Listing, known_sources
from transferscope.data.spec import DataSpec, Split, SplitSettings

__all__ = ["DataSource", "DataSpec", "Listing", "Split", "SplitSettings", "known_sources"]
