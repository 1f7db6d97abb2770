"""Small networks, each with something that permutations of hidden units must get past; and some they cannot."""

import torch
from torch import Tensor, nn

from transferscope.networks.initialisation import isolated_randomness


class _Function(nn.Module):
    """A network whose forward pass is given as a function of its layers."""

    def __init__(self, layers: dict[str, nn.Module | nn.Parameter], forward) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, images: Tensor) -> Tensor:
        return self._forward(self, images)


def _conv(first: int, second: int, **options) -> nn.Conv2d:
    return nn.Conv2d(first, second, 3, padding=1, **options)


def residual() -> nn.Module:
    """Batch norm, a residual sum, and a gate."""

    def forward(net, x):
        x = torch.relu(net.norm(net.stem(x)))
        gate = torch.sigmoid(net.excite(torch.relu(net.squeeze(x.mean((2, 3), keepdim=True)))))
        return net.head((x + net.branch(x) * gate).mean((2, 3)))

    layers = {"stem": _conv(3, 6), "norm": nn.BatchNorm2d(6), "branch": _conv(6, 6), "squeeze": nn.Conv2d(6, 4, 1),
              "excite": nn.Conv2d(4, 6, 1), "head": nn.Linear(6, 3)}  # fmt: skip
    return _Function(layers, forward)


def flat() -> nn.Module:
    """A map flattened into a linear layer, as in VGG."""
    return nn.Sequential(_conv(3, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 7), nn.GELU(),
                         nn.Linear(7, 3))  # fmt: skip


def vgg() -> nn.Module:
    """Convolutions, batch norm and pooling, then two linear layers on the flattened map."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 24), (24, 32)):
        layers += [_conv(before, after), nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 40), nn.ReLU(), nn.Dropout(), nn.Linear(40, 3))


def dense() -> nn.Module:
    """Concatenation, and a split in two halves that are multiplied."""

    def forward(net, x):
        x = torch.cat([net.one(x), net.two(x)], 1)
        x = torch.cat([x, torch.relu(net.three(x))], 1)
        first, second = net.four(x).chunk(2, 1)
        return net.head((first * second).mean((2, 3)))

    layers = {"one": _conv(3, 4), "two": _conv(3, 5), "three": _conv(9, 3), "four": _conv(12, 8),
              "head": nn.Linear(4, 3)}  # fmt: skip
    return _Function(layers, forward)


def halves() -> nn.Module:
    """Two halves of one layer go different ways: they may not mix."""

    def forward(net, x):
        first, second = net.stem(x).mean((2, 3)).split([4, 2], 1)
        return net.one(first) + net.two(second)

    return _Function({"stem": _conv(3, 6), "one": nn.Linear(4, 3), "two": nn.Linear(2, 3)}, forward)


def grouped() -> nn.Module:
    """A grouped convolution between plain ones; group norm; a depthwise convolution."""

    def forward(net, x):
        x = torch.relu(net.second(torch.relu(net.first(x))))
        x = net.depth(net.norm(net.third(x)))
        return net.head(x.mean((2, 3)))

    layers = {"first": _conv(3, 12), "second": _conv(12, 6, groups=3), "third": _conv(6, 8),
              "norm": nn.GroupNorm(2, 8), "depth": _conv(8, 8, groups=8), "head": nn.Linear(8, 3)}  # fmt: skip
    return _Function(layers, forward)


def multiplied() -> nn.Module:
    """A depthwise convolution with two outputs for each channel."""
    return nn.Sequential(_conv(3, 4), nn.ReLU(), _conv(4, 8, groups=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 3))  # fmt: skip


def shuffled() -> nn.Module:
    """Channels of two groups dealt out to others, as in ShuffleNet."""

    def forward(net, x):
        x = net.stem(x)
        count, channels, height, width = x.shape
        x = x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(count, channels, height, width)
        return net.head(net.next(x).mean((2, 3)))

    return _Function({"stem": _conv(3, 8), "next": _conv(8, 6, groups=2), "head": nn.Linear(6, 3)}, forward)


def padded() -> nn.Module:
    """A shortcut that pads channels with zeros, as in the first ResNets for CIFAR."""

    def forward(net, x):
        x = torch.relu(net.stem(x))
        wide = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3))
        return net.head((wide + net.down(x)).mean((2, 3)))

    return _Function({"stem": _conv(3, 4), "down": _conv(4, 9, stride=2), "head": nn.Linear(9, 3)}, forward)


def standardised() -> nn.Module:
    """Weights standardised before they are used, as in NF-ResNets."""

    def forward(net, x):
        def conv(layer, value):
            weight = layer.weight.reshape(layer.weight.shape[0], -1)
            weight = (weight - weight.mean(1, keepdim=True)) / weight.std(1, keepdim=True)
            return nn.functional.conv2d(value, weight.reshape_as(layer.weight), layer.bias, padding=1)

        return net.head(torch.relu(conv(net.two, torch.relu(conv(net.one, x)))).mean((2, 3)))

    return _Function({"one": _conv(3, 12), "two": _conv(12, 6), "head": nn.Linear(6, 3)}, forward)


class Attention(nn.Module):
    """One block of a vision transformer: heads, norms of queries, a token, positions, layer scale."""

    def __init__(self, heads: int = 3, within: int = 4, normed: bool = False, bias: bool = True) -> None:
        super().__init__()
        width = heads * within
        self.heads, self.within = heads, within
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token, self.position = (nn.Parameter(torch.randn(1, n, width)) for n in (1, 5))
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.normed = nn.LayerNorm(within) if normed else nn.Identity()
        self.bias = nn.Parameter(torch.randn(1, heads, 1, 5)) if bias else None
        self.scale = nn.Parameter(1e-6 * torch.ones(width))
        self.up, self.down = nn.Linear(width, 10), nn.Linear(10, width)
        self.head = nn.Linear(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        count, tokens, width = x.shape
        qkv = self.qkv(self.one(x)).reshape(count, tokens, 3, self.heads, self.within).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        scores = self.normed(query) @ self.normed(key).transpose(-2, -1)
        if self.bias is not None:
            scores = scores + self.bias
        mixed = scores.softmax(-1) @ value
        x = x + self.scale * self.out(mixed.transpose(1, 2).reshape(count, tokens, width))
        x = x + self.down(nn.functional.gelu(self.up(self.two(x))))
        return self.head(x[:, 0])


def attention() -> nn.Module:
    return Attention()


def normed_attention() -> nn.Module:
    return Attention(normed=True)


def torch_attention() -> nn.Module:
    """torch's own attention layer, which has a fast path in evaluation mode."""

    def forward(net, x):
        x = net.patches(x).flatten(2).transpose(1, 2)
        return net.head(net.layer(x).mean(1))

    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return _Function({"patches": nn.Conv2d(3, 8, 4, stride=4), "layer": layer, "head": nn.Linear(8, 3)}, forward)


def channel_attention() -> nn.Module:
    """Attention between channels, within heads, as in XCiT."""

    def forward(net, x):
        x = net.patches(x).flatten(2).transpose(1, 2)
        count, tokens, width = x.shape
        query, key, value = net.qkv(x).reshape(count, tokens, 3, 2, 4).permute(2, 0, 3, 4, 1).unbind(0)
        query, key = (nn.functional.normalize(part, dim=-1) for part in (query, key))
        mixed = ((query @ key.transpose(-2, -1)) * net.temperature).softmax(-1) @ value
        x = x + net.out(mixed.permute(0, 3, 1, 2).reshape(count, tokens, width))
        return net.head(x.mean(1))

    layers = {"patches": nn.Conv2d(3, 8, 4, stride=4), "qkv": nn.Linear(8, 24), "out": nn.Linear(8, 8),
              "temperature": nn.Parameter(torch.rand(2, 1, 1) + 1), "head": nn.Linear(8, 3)}  # fmt: skip
    return _Function(layers, forward)


def mixer() -> nn.Module:
    """Hidden units along the axis of tokens."""

    def forward(net, x):
        x = net.patches(x).flatten(2).transpose(1, 2)
        x = x + net.back(torch.relu(net.tokens(x.transpose(1, 2)))).transpose(1, 2)
        return net.head(x.mean(1))

    layers = {"patches": nn.Conv2d(3, 6, 4, stride=4), "tokens": nn.Linear(4, 5), "back": nn.Linear(5, 4),
              "head": nn.Linear(6, 3)}  # fmt: skip
    return _Function(layers, forward)


NETWORKS = {
    made.__name__: made
    for made in (residual, flat, dense, halves, grouped, multiplied, shuffled, padded, standardised, attention,
                 normed_attention, torch_attention, channel_attention, mixer)
}  # fmt: skip
"""All that can be aligned; each takes images 3 x 8 x 8."""


def made(name: str, seed: int = 0) -> nn.Module:
    """One of :data:`NETWORKS` in evaluation mode, with running statistics that are not the first ones."""
    with isolated_randomness(seed):
        net = NETWORKS[name]()
        for buffer_name, buffer in net.named_buffers():
            if "running" in buffer_name:
                buffer.uniform_(0.5, 1.5)
    return net.eval()


# -- what cannot be aligned -------------------------------------------------------------------------------------


def sorting(num_classes: int = 3) -> nn.Module:
    """The order of channels is looked at."""

    def forward(net, x):
        return net.head(net.stem(x).mean((2, 3)).sort(1).values)

    return _Function({"stem": _conv(3, 6), "head": nn.Linear(6, num_classes)}, forward)


def branching() -> nn.Module:
    """What is done depends on values."""

    def forward(net, x):
        x = net.stem(x).mean((2, 3))
        return net.head(-x if x.sum() > 0 else x)

    return _Function({"stem": _conv(3, 6), "head": nn.Linear(6, 3)}, forward)


def unseen() -> nn.Module:
    """Units that meet no convolution or linear map."""
    layers = {"gains": nn.Parameter(torch.randn(6)), "head": nn.Linear(3, 3)}
    return _Function(layers, lambda net, x: net.head(x.mean((2, 3))) * net.gains.square().sum())


def tangled() -> nn.Module:
    """Two sets of units that are only seen on two axes of one value."""

    def forward(net, x):
        x = torch.relu(net.grid * x.mean((1, 2, 3))[:, None, None])
        return net.head(torch.einsum("bij,ij->b", x, net.weights)[:, None])

    layers = {"grid": nn.Parameter(torch.randn(1, 5, 4)), "weights": nn.Parameter(torch.randn(5, 4)),
              "head": nn.Linear(1, 3)}  # fmt: skip
    return _Function(layers, forward)
