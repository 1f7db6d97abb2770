"""How many threads the libraries use."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Torch, OpenMP and BLAS on ``threads`` threads: sums are then added up in the same order everywhere."""
    if threads is None:
        yield
        return
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
