"""Rules of operations that give units another form: reshapes, slices, copies, pooling."""

from typing import Any

from transferscope.networks.permutations.rules import UNIFORM, Call, Rule, UnknownOperation, enter
from transferscope.networks.permutations.values import Label, Value

SHAPES: dict[str, Rule] = {}
"""Rules by the name of the operation."""

_SAME = "contiguous clone alias detach dropout feature_dropout to _to_copy type_as float double half lift_fresh_copy"
_RESHAPES = (
    "view reshape flatten unflatten squeeze unsqueeze reshape_as view_as _unsafe_view _reshape_alias ravel "
    "squeeze_ unsqueeze_"
)
_POOLS = (
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d "
    "upsample_linear1d _upsample_bilinear2d_aa _upsample_bicubic2d_aa max_pool2d_with_indices _adaptive_avg_pool2d"
)
_CONSTANTS = (
    "arange linspace ones zeros full eye empty scalar_tensor zeros_like ones_like full_like new_zeros new_ones "
    "new_full empty_like new_empty"
)


@enter(SHAPES, _SAME)
def _same(call: Call) -> Value:
    return call.value


@enter(SHAPES, _RESHAPES)
def _reshape(call: Call) -> Value:
    return call.labels.reshape(call.value, call.shape)


@enter(SHAPES, "permute")
def _permute(call: Call) -> Value:
    return call.labels.permute(call.value, call.given["dims"])


@enter(SHAPES, "transpose transpose_ t t_ numpy_T mT swapaxes swapdims")
def _transpose(call: Call) -> Value:
    value = call.value
    order = list(range(len(value.shape)))
    pair = [call.given[key] for key in ("dim0", "dim1", "axis0", "axis1") if key in call.given] or [-2, -1]
    if len(order) > 1:
        order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return call.labels.permute(value, order)


@enter(SHAPES, "movedim moveaxis")
def _movedim(call: Call) -> Value:
    value = call.value
    ranks = len(value.shape)
    sources, targets = (
        [
            axis % ranks
            for axis in (call.given[key] if isinstance(call.given[key], (list, tuple)) else [call.given[key]])
        ]
        for key in ("source", "destination")
    )
    order = [axis for axis in range(ranks) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return call.labels.permute(value, order)


@enter(SHAPES, "expand expand_as broadcast_to")
def _expand(call: Call) -> Value:
    shape = call.shape
    value = call.value
    return call.labels.repeat(value, [1] * len(shape), shape)


@enter(SHAPES, "repeat tile")
def _repeat(call: Call) -> Value:
    times = list(call.given["repeats"] if "repeats" in call.given else call.given["dims"])
    value = call.value
    times = [1] * (len(value.shape) - len(times)) + times
    return call.labels.repeat(value, times, call.shape)


@enter(SHAPES, "slice narrow")
def _slice(call: Call) -> Value:
    value, axis = call.value, call.given["dim"]
    start = call.given["start"] or 0
    if not isinstance(start, int):
        raise UnknownOperation("its start is a tensor")
    stop = start + call.given["length"] if "length" in call.given else call.given["end"]
    return call.labels.slice(value, axis, slice(start, stop, call.given.get("step", 1)), call.shape)


@enter(SHAPES, "select")
def _select(call: Call) -> Value:
    return call.labels.slice(call.value, call.given["dim"], int(call.given["index"]), call.shape)


@enter(SHAPES, "split split_with_sizes chunk tensor_split unsafe_split unsafe_chunk")
def _split(call: Call) -> list[Value]:
    value, axis, start, parts = call.value, call.given["dim"], 0, []
    for piece in call.node.meta["val"]:
        stop = start + piece.shape[axis]
        parts.append(call.labels.slice(value, axis, slice(start, stop), piece.shape))
        start = stop
    return parts


@enter(SHAPES, "unbind")
def _unbind(call: Call) -> list[Value]:
    pieces = enumerate(call.node.meta["val"])
    return [call.labels.slice(call.value, call.given["dim"], number, piece.shape) for number, piece in pieces]


@enter(SHAPES, "cat concat concatenate")
def _cat(call: Call) -> Value:
    parts = [part for part in call.given["tensors"] if part.shape != (0,)]
    return call.labels.concatenate(parts, call.given["dim"], call.shape)


@enter(SHAPES, "stack")
def _stack(call: Call) -> Value:
    shape = call.shape
    axis = call.given["dim"] % len(shape)
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    parts = [call.labels.reshape(part, one) for part in call.given["tensors"]]
    return call.labels.concatenate(parts, axis, shape)


@enter(SHAPES, "pad constant_pad_nd reflection_pad2d replication_pad2d")
def _pad(call: Call) -> Value:
    value, shape, amounts = call.value, call.shape, call.given.get("pad", call.given.get("padding"))
    for place, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        axis = len(shape) - 1 - place
        if value.at(axis) is None or not (before or after):
            continue
        if call.given.get("mode", "constant") != "constant" or before < 0 or after < 0:
            value = call.labels.fix(value, [axis])
            continue
        # What is padded is equal everywhere: units that no weight tells apart.
        edge = value.shape[:axis], value.shape[axis + 1 :]
        parts = [Value((*edge[0], size, *edge[1]), uniform=True) for size in (before, after)]
        joined = [part for part in (parts[0], value, parts[1]) if part.shape[axis]]
        grown = (*edge[0], value.shape[axis] + before + after, *edge[1])
        value = call.labels.concatenate(joined, axis, grown)
    return Value(shape, value.labels, value.live)


@enter(SHAPES, "roll flip cumsum cumprod")
def _ordered(call: Call) -> Value:
    axes = call.given.get("dims", call.given.get("dim"))
    value = call.value
    axes = [axes] if isinstance(axes, int) else list(axes) or list(range(len(value.shape)))
    return call.labels.fix(value, [axis % len(value.shape) for axis in axes])


@enter(SHAPES, "index")
def _index(call: Call) -> Value:
    value, indices = call.value, call.given["indices"]
    used = [axis for axis, index in enumerate(indices) if index is not None]
    for index in indices:
        if index is not None:
            call.labels.fix(index)
    value = call.labels.fix(value, used)
    together = used == list(range(used[0], used[-1] + 1))
    new = len(call.shape) - (len(value.shape) - len(used))
    front = used[0] if together else 0
    left = [axis for axis in range(len(value.shape)) if axis not in used]
    moved = {axis: place if place < front else place + new for place, axis in enumerate(left)}
    labels = tuple(Label(tuple(moved[axis] for axis in label.axes), label.atoms) for label in value.labels)
    return Value(call.shape, labels, value.live or any(index.live for index in indices if index is not None))


@enter(SHAPES, "index_select")
def _index_select(call: Call) -> Value:
    call.labels.fix(call.given["index"])
    value = call.labels.fix(call.value, [call.given["dim"] % len(call.value.shape)])
    return Value(call.shape, value.labels, value.live or call.given["index"].live)


@enter(SHAPES, "embedding")
def _embedding(call: Call) -> Value:
    call.labels.fix(call.given["indices"])
    weight = call.labels.fix(call.given["weight"], [0])
    shape = call.shape
    labels = tuple(Label((len(shape) - 1,), label.atoms) for label in weight.labels)
    return Value(shape, labels, call.given["indices"].live)


@enter(SHAPES, _CONSTANTS)
def _constant(call: Call) -> Value:
    return Value(call.shape, uniform=call.name in UNIFORM)


@enter(SHAPES, _POOLS)
def _pool(call: Call) -> Any:
    value = call.value
    leading = 2 if call.name != "adaptive_avg_pool1d" or len(value.shape) > 2 else 1
    value = call.labels.fix(value, range(leading, len(value.shape)))
    return call.outputs(lambda shape: Value(shape, value.labels, value.live))
