"""Rules of operations that sum over units: reductions, norms, convolutions, linear maps, attention."""

from collections.abc import Sequence
from typing import Any

from transferscope.networks.permutations.rules import Call, Rule, UnknownOperation, enter
from transferscope.networks.permutations.values import Label, Value

PRODUCTS: dict[str, Rule] = {}
"""Rules by the name of the operation."""

_REDUCTIONS = "mean sum amax amin var std logsumexp linalg_vector_norm norm prod any all"
_BATCH = "ABCDEFGH"


# -- sums over axes, and norms ----------------------------------------------------------------------------------


@enter(PRODUCTS, _REDUCTIONS)
def _reduce(call: Call) -> Value:
    value = call.value
    axes = call.given.get("dim")
    if axes is None or axes == []:
        axes = list(range(len(value.shape)))
    axes = [axes] if isinstance(axes, int) else list(axes)
    keep = len(call.shape) == len(value.shape)
    found = call.labels.reduce(value, axes, keep)
    return Value(call.shape, found.labels, found.live)


@enter(PRODUCTS, "var_mean std_mean")
def _reduce_two(call: Call) -> list[Value]:
    value, axes = call.value, call.given.get("dim")
    axes = list(range(len(value.shape))) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    shape = tuple(call.node.meta["val"][0].shape)
    found = call.labels.reduce(value, axes, len(shape) == len(value.shape))
    return [Value(shape, found.labels, found.live)] * 2


@enter(PRODUCTS, "softmax _softmax log_softmax _log_softmax")
def _softmax(call: Call) -> Value:
    return call.labels.normalise(call.value, [call.given["dim"]])


@enter(PRODUCTS, "layer_norm native_layer_norm rms_norm")
def _layer_norm(call: Call) -> Any:
    value = call.value
    axes = range(-len(call.given["normalized_shape"]), 0)
    value = call.labels.normalise(value, axes)
    scales = [call.given.get(name) for name in ("weight", "bias")]
    found = call.labels.meet(value.shape, [value, *(scale for scale in scales if isinstance(scale, Value))])
    return call.outputs(lambda shape: found if shape == found.shape else Value(shape, live=found.live))


@enter(PRODUCTS, "batch_norm instance_norm")
def _batch_norm(call: Call) -> Value:
    value = call.value
    if call.given.get("training", call.given.get("use_input_stats")):
        # Statistics of the images at hand: of each channel alone.
        axes = [axis for axis in range(len(value.shape)) if axis != 1]
        value = call.labels.normalise(value, axes)
    names = ("weight", "bias", "running_mean", "running_var")
    return _per_channel(call, value, [call.given.get(name) for name in names])


@enter(PRODUCTS, "group_norm")
def _group_norm(call: Call) -> Value:
    value, groups = call.value, call.given["num_groups"]
    folded = call.labels.reshape(value, (value.shape[0], groups, value.shape[1] // groups, *value.shape[2:]))
    folded = call.labels.normalise(folded, range(2, len(folded.shape)))
    value = call.labels.reshape(folded, value.shape)
    return _per_channel(call, value, [call.given.get("weight"), call.given.get("bias")])


def _per_channel(call: Call, value: Value, scales: Sequence[Any]) -> Value:
    """Elementwise with vectors along axis 1."""
    spatial = (1,) * (len(value.shape) - 2)
    columns = [call.labels.reshape(scale, (*scale.shape, *spatial)) for scale in scales if isinstance(scale, Value)]
    return call.labels.meet(value.shape, [value, *columns])


# -- sums of products -------------------------------------------------------------------------------------------


def _product(call: Call, pair: tuple[Value, Value], letters: tuple[str, str, str], bias: Any = None) -> Value:
    found = call.labels.contract(*pair, letters, call.shape)
    if isinstance(bias, Value):
        found = call.labels.meet(found.shape, [found, bias])
    return call.sum_of_products(found)


@enter(PRODUCTS, "linear")
def _linear(call: Call) -> Value:
    value, weight = call.given["input"], call.given["weight"]
    batch = _BATCH[: len(value.shape) - 1]
    return _product(call, (value, weight), (f"{batch}i", "oi", f"{batch}o"), call.given["bias"])


@enter(PRODUCTS, "matmul mm bmm mv dot")
def _matmul(call: Call) -> Value:
    first = call.given["self"]
    second = next(call.given[name] for name in ("other", "mat2", "vec", "tensor") if name in call.given)
    return _product(call, (first, second), _matmul_letters(first, second))


@enter(PRODUCTS, "addmm baddbmm")
def _addmm(call: Call) -> Value:
    first, second = (call.given[key] for key in (("mat1", "mat2") if "mat1" in call.given else ("batch1", "batch2")))
    return _product(call, (first, second), _matmul_letters(first, second), call.given["self"])


def _matmul_letters(first: Value, second: Value) -> tuple[str, str, str]:
    count = max(len(first.shape), len(second.shape), 2) - 2
    batch = _BATCH[:count]
    one = batch[count - max(len(first.shape) - 2, 0) :] + ("mk" if len(first.shape) > 1 else "k")
    two = batch[count - max(len(second.shape) - 2, 0) :] + ("kn" if len(second.shape) > 1 else "k")
    out = batch + ("m" if "m" in one else "") + ("n" if "n" in two else "")
    return one, two, out


@enter(PRODUCTS, "einsum")
def _einsum(call: Call) -> Value:
    equation, operands = call.given["equation"].replace(" ", ""), call.given["tensors"]
    inputs, arrow, out = equation.partition("->")
    letters = inputs.split(",")
    if len(operands) != 2 or "." in equation or not arrow or any(len(set(word)) < len(word) for word in letters):
        raise UnknownOperation(f"equation {call.given['equation']!r}")
    return _product(call, (operands[0], operands[1]), (letters[0], letters[1], out))


@enter(PRODUCTS, "scaled_dot_product_attention")
def _attention(call: Call) -> Value:
    query, key, value, labels = call.given["query"], call.given["key"], call.given["value"], call.labels
    if call.given.get("enable_gqa"):
        raise UnknownOperation("heads that share keys")
    batch = _BATCH[: len(query.shape) - 2]
    shape = (*query.shape[:-1], key.shape[-2])
    if call.given["is_causal"]:
        query, key = labels.fix(query, [len(shape) - 2]), labels.fix(key, [len(key.shape) - 2])
    scores = labels.contract(query, key, (f"{batch}nd", f"{batch}md", f"{batch}nm"), shape)
    if isinstance(call.given["attn_mask"], Value):
        scores = labels.meet(shape, [scores, call.given["attn_mask"]])
    scores = labels.normalise(scores, [-1])
    return _product(call, (scores, value), (f"{batch}nm", f"{batch}me", f"{batch}ne"))


@enter(PRODUCTS, "conv1d conv2d conv3d convolution")
def _convolution(call: Call) -> Value:
    if call.given.get("transposed"):
        raise UnknownOperation("a transposed convolution")
    value, weight, groups, labels = call.value, call.given["weight"], call.given["groups"], call.labels
    space = len(weight.shape) - 2
    if len(value.shape) != space + 2:
        raise UnknownOperation("images without a batch axis")
    value = labels.fix(value, range(2, len(value.shape)))
    weight = labels.fix(weight, range(2, len(weight.shape)))
    # Where the window stands, and where a weight stands in it: positions that stay.
    stays, window = "pqr"[:space], "uvw"[:space]
    if groups == 1:
        letters = (f"bi{stays}", f"oi{window}", f"bo{stays}")
        return _product(call, (value, weight), letters, _column(call, call.given["bias"], space))
    per_in, per_out = weight.shape[1], weight.shape[0] // groups
    value = labels.reshape(value, (value.shape[0], groups, per_in, *value.shape[2:]))
    slab = call.reader.slabs.get(str(call.node.args[1]))
    folded = labels.reshape(weight, (groups, per_out, *weight.shape[1:]))
    if slab is not None and per_in > 1:
        # Input channels of a group lie on one axis of the weight for all groups, but move with their own group.
        kept = tuple(label for label in folded.labels if 2 not in label.axes)
        folded = Value(folded.shape, (*kept, Label((0, 2), slab)), folded.live)
    letters = (f"bgi{stays}", f"goi{window}", f"bgo{stays}")
    shape = call.shape
    found = labels.contract(value, folded, letters, (shape[0], groups, per_out, *shape[2:]))
    found = labels.reshape(found, shape)
    if isinstance(call.given["bias"], Value):
        found = labels.meet(shape, [found, _column(call, call.given["bias"], space)])
    return call.sum_of_products(found)


def _column(call: Call, bias: Any, space: int) -> Any:
    return call.labels.reshape(bias, (*bias.shape, *(1,) * space)) if isinstance(bias, Value) else None
