"""Write-once folders named by what they hold, with hashes that are checked on reading."""

from transferscope.store.entry import Entry
from transferscope.store.store import Store

__all__ = ["Entry", "Store"]
