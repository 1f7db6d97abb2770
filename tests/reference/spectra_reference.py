"""Singular values of a layer the long way: its dense matrix, one unit vector after the other."""

import numpy as np
import torch
from torch import nn

_CONVOLVE = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}


def dense_circular(weight, size, stride, dilation, groups):
    """The matrix of a convolution that reads a periodic map: outputs × inputs."""
    axes = len(size)
    channels = weight.shape[1] * groups
    columns = []
    for channel in range(channels):
        for place in np.ndindex(*size):
            unit = torch.zeros(1, channels, *size, dtype=torch.float64)
            unit[(0, channel, *place)] = 1
            # What lies beyond the map is the map again, as often as the kernel reaches.
            for axis in range(axes):
                reach = (weight.shape[2 + axis] - 1) * dilation[axis]
                n = size[axis]
                again = torch.arange(n + reach) % n
                unit = unit.index_select(2 + axis, again)
            written = _CONVOLVE[axes](unit, weight.double(), stride=stride, dilation=dilation, groups=groups)
            columns.append(written.flatten())
    return torch.stack(columns, dim=1)


def dense_transposed(weight, size, stride, groups):
    """The matrix of a transposed convolution onto a periodic map: what sticks out is added at the other end."""
    channels, columns = weight.shape[0], []
    for channel in range(channels):
        for place in np.ndindex(*size):
            unit = torch.zeros(1, channels, *size, dtype=torch.float64)
            unit[(0, channel, *place)] = 1
            written = nn.functional.conv_transpose2d(unit, weight.double(), stride=stride, groups=groups)[0]
            wrapped = torch.zeros(
                len(written), *(n * s for n, s in zip(size, stride, strict=True)), dtype=torch.float64
            )
            for y in range(written.shape[1]):
                for x in range(written.shape[2]):
                    wrapped[:, y % wrapped.shape[1], x % wrapped.shape[2]] += written[:, y, x]
            columns.append(wrapped.flatten())
    return torch.stack(columns, dim=1)


def plain_summary(values, top):
    """Norms and ranks of a list of singular values, repeated ones listed repeatedly."""
    values = sorted((float(value) for value in values), reverse=True)
    squares = [value**2 for value in values]
    total = sum(values)
    entropy = -sum(value / total * np.log(value / total) for value in values if value > 0)
    k = int(np.ceil(round(top * len(values), 9)))
    return {
        "count": len(values),
        "largest": values[0],
        "frobenius": sum(squares) ** 0.5,
        "stable_rank": sum(squares) / squares[0],
        "effective_rank": float(np.exp(entropy)),
        "energy": sum(squares[:k]) / sum(squares),
    }
