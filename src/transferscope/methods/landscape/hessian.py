"""The Hessian of a network's loss: largest eigenvalues and trace, from products with vectors."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from transferscope.errors import MeasureError
from transferscope.measures.curvature import hutchinson_trace, top_eigenpairs
from transferscope.measures.distance import parameter_norm
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape
from transferscope.networks.batch import labelled
from transferscope.networks.evaluate import in_format
from transferscope.networks.given import takes_networks
from transferscope.readable import readable


@readable
@dataclass(frozen=True)
class Hessian:
    """What was measured of H = ∇²L(θ), L the mean loss over the examples given, in nats.

    Attributes:
        eigenvalues: the largest, largest first; fewer than asked where ``converged`` is False.
        residuals: ‖Hv − λv‖₂ of each: an eigenvalue of H lies within that distance of it.
        converged: whether all that were asked for were found, and their residuals are within the tolerance.
        trace_se: its standard error over random probes, the examples given.
        batch_norm: ``recompute``, ``none`` (the network's own statistics) or ``no batch norm``; fixed in any case.
    """

    eigenvalues: tuple[float, ...]
    residuals: tuple[float, ...]
    converged: bool
    trace: float
    trace_se: float
    norm: float
    parameters: int
    examples: int
    loss: float
    products: int
    batch_norm: str


@takes_networks("network")
def hessian(
    network: nn.Module,
    batches: Batches,
    evaluation: Evaluation = Evaluation(),
    *,
    count: int = 1,
    probes: int = 30,
    tolerance: float = 1e-3,
    most_products: int = 500,
    dtype: Literal["float32", "float64"] = "float32",
    seed: int = 0,
) -> Hessian:
    """Largest eigenvalues and trace of the Hessian of the mean cross-entropy, over all parameters.

    The network is in evaluation mode: batch norm's running statistics are constants (recomputed once at θ, or its own),
    so this is the curvature of the network as it is used, not of the loss in training mode. It is not changed.

    λ and tr H depend on the scale of the parameters: where the loss does not change under θ → cθ, H(cθ) = H(θ)/c².
    λ‖θ‖² and tr H·‖θ‖² do not, for a common c; scaling single layers against each other still changes all of them.
    Cross-entropy flattens out as its loss goes to 0: compare networks of unlike loss with care.

    Args:
        network: gives logits.
        batches: images and labels; the same batches twice.
        count: eigenvalues.
        probes: random vectors for the trace, at least 2.
        tolerance: relative, of the eigenvalues.
        most_products: about where the search for eigenvalues ends without convergence.
        dtype: of weights, images and products; ``float64`` for tolerances below about 1e-5.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        seed: of the first vector and the probes.

    Raises:
        MeasureError: numbers out of range, nothing to recompute batch norm on, float64 on a device that has none, an
            operation of the network that cannot be differentiated twice, a Hessian that is not finite, or products that
            are not those of a symmetric matrix (an operation with a wrong second derivative).
        LoaderError: the batches are not the same twice.

    Reference: Pearlmutter (1994) for the products, here the derivative of ⟨∇L, v⟩ by reverse mode both times:
    forward-mode formulas of some operations are off (layer norm in torch) or missing (group norm).
    """
    split, task = "curvature", _task(batches)
    if evaluation.precision != "float32":
        raise MeasureError("products need digits", expected="precision='float32'", got=repr(evaluation.precision))
    # The metric is not used, but must fit the labels.
    measured = replace(evaluation, metric="top1" if task == "single" else "auc")
    landscape = Landscape([network], {split: batches}, measured)
    wide = torch.float64 if dtype == "float64" else torch.float32
    if landscape.device.type == "mps" and dtype == "float64":
        raise MeasureError("this device has no float64", expected="dtype='float32', or device='cpu'", got="mps")
    # Evaluating recomputes the statistics, which then stay as they are.
    point = landscape.evaluate()[split]
    model = landscape.network.to(wide).requires_grad_(True)
    parameters = list(model.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    data = _Prepared(batches, landscape.device, wide, evaluation.memory_format, task)

    def product(vector: npt.NDArray[Any]) -> npt.ArrayLike:
        given = torch.as_tensor(vector, dtype=wide).to(landscape.device)
        try:
            found = _product(model, parameters, data, given) / len(point.losses)
        except torch.OutOfMemoryError:
            raise  # a RuntimeError too, and no fault of the network
        except (RuntimeError, NotImplementedError) as error:
            # What torch raises for an operation without a derivative has no type of its own.
            raise MeasureError(
                "the network cannot be differentiated twice",
                expected="operations whose derivative has a derivative, by reverse mode",
                got=str(error).splitlines()[0],
                hint="replace the operation that is named, or leave the Hessian out",
            ) from error
        values: npt.NDArray[np.float64] = found.cpu().double().numpy()
        return values

    pairs = top_eigenpairs(
        product, size, count, tolerance=tolerance, most_products=most_products, precision=dtype, seed=seed
    )
    trace = hutchinson_trace(product, size, probes, seed=seed, pairs=pairs)
    return Hessian(
        eigenvalues=pairs.values,
        residuals=pairs.residuals,
        converged=pairs.converged,
        trace=trace.value,
        trace_se=trace.standard_error,
        norm=parameter_norm(dict(model.named_parameters())),
        parameters=size,
        examples=len(point.losses),
        loss=float(point.losses.mean()),
        products=pairs.products + trace.products,
        batch_norm=landscape.policy,
    )


@torch.enable_grad()
def _product(model: nn.Module, parameters: list[nn.Parameter], data: "_Prepared", vector: Tensor) -> Tensor:
    """H of the summed loss, times a vector: the gradient of ⟨∇L, v⟩, batch by batch."""
    parts = [
        part.view_as(p)
        for p, part in zip(parameters, torch.split(vector, [p.numel() for p in parameters]), strict=True)
    ]
    found = torch.zeros_like(vector)
    loss = nn.CrossEntropyLoss() if data.task == "single" else nn.BCEWithLogitsLoss()
    # Fused attention has no second derivative, and TF32 too few digits for one.
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(torch.backends.cudnn.enabled, allow_tf32=False):
        for images, labels in data:
            # What a network keeps of its weights between evaluations would be a constant.
            model.train().eval()
            value = loss(model(images.clone()), labels) * len(images)
            slopes = torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True)
            along = torch.stack([(slope * part).sum() for slope, part in zip(slopes, parts, strict=True)]).sum()
            # Where the loss is linear in all parameters there is nothing left to differentiate.
            if along.requires_grad:
                bends = torch.autograd.grad(along, parameters, materialize_grads=True)
                found += torch.cat([bend.reshape(-1) for bend in bends])
    return found.detach()


def _task(batches: Batches) -> Literal["single", "multi"]:
    if isinstance(batches, Iterator):
        return "single"  # refused by the landscape, which says why; looking would use a batch up
    return "multi" if any(labelled(batch)[1].ndim == 2 for batch in islice(batches, 1)) else "single"


@final
class _Prepared:
    """Batches on the device, images in the operator's dtype, labels as the loss wants them; read anew each time."""

    def __init__(
        self,
        batches: Batches,
        device: torch.device,
        dtype: torch.dtype,
        memory_format: Literal["contiguous", "channels_last"],
        task: Literal["single", "multi"],
    ) -> None:
        self.batches, self.device, self.dtype, self.task = batches, device, dtype, task
        self.memory_format: Literal["contiguous", "channels_last"] = memory_format

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        for images, given in map(labelled, self.batches):
            labels = given.to(self.device)
            wanted = labels.long() if self.task == "single" else labels.to(self.dtype)
            # Integers (tokens) are no numbers to compute with.
            inputs = images.to(self.dtype) if images.is_floating_point() else images
            yield in_format(inputs.to(self.device), self.memory_format), wanted
