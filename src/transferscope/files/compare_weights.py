"""Compare two files of weights without data: what ``transferscope compare`` does where no ``--data`` is given."""

from collections.abc import Callable

from transferscope.methods.compare.weights import compare_weights
from transferscope.methods.compare.weights_result import WeightsComparison
from transferscope.networks.adapters import Adapter, is_adapter, read_adapter
from transferscope.networks.stored_tensors import StoredTensors
from transferscope.specs.architecture import FileWeights

__all__ = ["compare_weight_files", "stored"]


def compare_weight_files(
    a: FileWeights, b: FileWeights, *, ranks: bool = True, on_step: Callable[[str, int, int], None] | None = None
) -> WeightsComparison:
    """Compare two networks stored in files, of any architecture and size, tensor by tensor.

    Args:
        a: a file of safetensors or of ``torch.save``, the index of its parts, their folder, or an adapter.
        b: another; an adapter is taken for one of a, and not merged.
        ranks: also the ranks of every change.
        on_step: told what is being done.

    Raises:
        WeightsError: a file cannot be read, or no names correspond.
    """
    return compare_weights(stored(a), stored(b), ranks=ranks, on_step=on_step)


def stored(weights: FileWeights) -> StoredTensors | Adapter:
    """The tensors of a file, or the adapter it is."""
    if is_adapter(weights.path):
        adapter = read_adapter(weights.path, weights.which)
        if adapter is not None:
            return adapter
    tensors = StoredTensors(weights.path, weights.which)
    return read_adapter(tensors) or tensors
