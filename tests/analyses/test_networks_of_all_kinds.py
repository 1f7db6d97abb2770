"""Networks as people have them: wrapped, compiled, scripted, with derived weights, caches, other types."""

import threading
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import transferscope as ts
from tests.callers import CPU, DISTINCT, FUNCTIONS, gathered
from transferscope.errors import AlignmentError, ArchitectureError
from transferscope.networks.features import pooled_features
from transferscope.networks.modules import hookable_parts, named_parts, parts_parameters

ON_CPU = ts.Execution(**CPU)

GENERATOR = torch.Generator().manual_seed(0)
PAIRS = [(torch.randn(12, 3, 8, 8, generator=GENERATOR), torch.arange(12) % 3) for _ in range(2)]


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def path(a: nn.Module, b: nn.Module, data=None, **more) -> list[float]:
    found = ts.linear_path(a, b, {"t": data or PAIRS}, **gathered(ts.linear_path, alphas=(0, 0.5, 1), **CPU, **more))
    return [float(point.losses.mean()) for point in found.points["t"]]


# Wrapping


class Normalise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))

    def forward(self, x):
        return x - self.mean


class Wrapper(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.register_buffer("std", torch.ones(1))
        self.model, self.probability = model, nn.Identity()

    def forward(self, x):
        return self.probability(self.model(x / self.std))


class Plain(nn.Module):
    """Parts that lists alone do not show: as AlexNet, features and classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(5)]
        self.features = nn.Sequential(*[part for conv in layers for part in (conv, nn.ReLU())], nn.Flatten())
        self.classifier = nn.Sequential(nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, x):
        return self.classifier(self.features(x))


WRAPPED = {
    "DataParallel": (nn.DataParallel, "module."),
    "Sequential": (lambda network: nn.Sequential(Normalise(), network), "1."),
    "with a softmax": (lambda network: nn.Sequential(network, nn.Softmax(1)), "0."),
    "class": (Wrapper, "model."),
    "twice": (lambda network: Wrapper(nn.Sequential(Normalise(), nn.DataParallel(network))), "model.1.module."),
    "dictionary": (lambda network: Wrapper(nn.Sequential(*nn.ModuleDict({"net": network}).values())), "model.0."),
}


@pytest.mark.kind("F10")
@pytest.mark.parametrize("granularity", ["stage", "block", "layer"])
@pytest.mark.parametrize("make", [Plain, small])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_changes_the_beginning_of_names_alone(name: str, make, granularity) -> None:
    wrap, prefix = WRAPPED[name]
    bare, wrapped = make(), wrap(make())
    expected = parts_parameters(bare, granularity)
    assert len(expected) > 1
    assert parts_parameters(wrapped, granularity) == {
        f"{prefix}{part}": [f"{prefix}{parameter}" for parameter in parameters] for part, parameters in expected.items()
    }
    found = ts.cka(wrapped, loader=PAIRS, granularity=granularity, execution=ON_CPU)
    assert list(found.modules["a"]) == [f"{prefix}{part}" for part in hookable_parts(bare, granularity)]
    assert np.array_equal(found.values, ts.cka(bare, loader=PAIRS, granularity=granularity, execution=ON_CPU).values)


@pytest.mark.kind("F10")
def test_what_is_no_wrapper_stays_a_part() -> None:
    assert named_parts(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), "block") == ["0"]
    assert named_parts(nn.Sequential(nn.MultiheadAttention(4, 2)), "block") == ["0"]
    assert named_parts(nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))), "block") == ["0"]
    scaled = Wrapper(small())
    scaled.scale = nn.Parameter(torch.ones(1))
    assert named_parts(scaled, "block") == ["(direct)", "model"]
    assert named_parts(Wrapper(small()), "block", head="model") == ["model"]


@pytest.mark.kind("F10")
def test_maps_with_channels_last_are_known_in_a_wrapper() -> None:
    class Last(nn.Module):
        output_fmt = "NHWC"

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2))

    network = Last()
    for granularity in ("block", "layer"):
        bare, wrapped = (
            pooled_features(net, PAIRS, head, granularity=granularity, **CPU).tables
            for net, head in ((network, "head"), (nn.DataParallel(network), "module.head"))
        )
        assert [table.shape for table in wrapped.values()] == [table.shape for table in bare.values()]


@pytest.mark.kind("F10")
def test_a_network_that_is_spread_over_processes(tmp_path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        a, b = (nn.parallel.DistributedDataParallel(small(seed)) for seed in (0, 1))
        assert ts.cka(a, loader=PAIRS, execution=ON_CPU).modules["a"] == ("module.0", "module.3")
        assert path(a, b) == path(small(0), small(1))
    finally:
        torch.distributed.destroy_process_group()


# Compiled


def compiled_inside(network: nn.Sequential) -> nn.Module:
    network.compile(backend="eager")
    return network


def compiled_child(network: nn.Sequential) -> nn.Module:
    network[0] = torch.compile(network[0], backend="eager")
    return network


def compiled_part(network: nn.Sequential) -> nn.Module:
    network[3].compile(backend="eager")
    return network


COMPILED = {
    "torch.compile": lambda network: torch.compile(network, backend="eager"),
    "network.compile": compiled_inside,
    "a child": compiled_child,
    "a part": compiled_part,
    "around a wrapper": lambda network: torch.compile(nn.DataParallel(network), backend="eager"),
}


@pytest.mark.kind("F16")
@pytest.mark.parametrize("form", COMPILED)
def test_compiled_networks_are_those_that_were_compiled(form: str) -> None:
    a, b = (COMPILED[form](small(seed)) for seed in (0, 1))
    x = PAIRS[0][0]
    before = a(x)
    expected = ts.cka(small(0), small(1), PAIRS, granularity="layer", execution=ON_CPU)
    found = ts.cka(a, b, PAIRS, granularity="layer", execution=ON_CPU)
    assert np.array_equal(found.values, expected.values)
    if form in ("torch.compile", "network.compile"):
        assert found.modules["a"] == expected.modules["a"]
    assert path(a, b) == path(small(0), small(1))
    assert torch.equal(a(x), before)


@pytest.mark.kind("F16")
@pytest.mark.parametrize("name", DISTINCT)
def test_every_function_takes_compiled_networks(name: str) -> None:
    FUNCTIONS[name](torch.compile(small(0), backend="eager"), compiled_inside(small(1)), PAIRS)


# Copies


def with_cache(seed: int) -> nn.Module:
    network = small(seed)
    network.latest = network(PAIRS[0][0])
    network[0].seen = [network.latest, {"latest": network.latest}]
    return network


def old_weight_norm(seed: int) -> nn.Module:
    network = small(seed)
    network[0] = nn.utils.weight_norm(network[0])
    return network


def old_spectral_norm(seed: int) -> nn.Module:
    network = small(seed)
    network[3] = nn.utils.spectral_norm(network[3], n_power_iterations=30)
    for _ in range(3):
        network(PAIRS[0][0]).sum().backward()
    return network.requires_grad_(True)


def pruned(seed: int) -> nn.Module:
    network = small(seed)
    # One mask for all seeds: between two there would be none.
    prune.custom_from_mask(network[0], "weight", torch.arange(network[0].weight.numel()).view_as(network[0].weight) % 2)
    network(PAIRS[0][0])
    return network


def new_weight_norm(seed: int) -> nn.Module:
    network = small(seed)
    parametrizations.weight_norm(network[0])
    network(PAIRS[0][0])
    return network


def with_hooks(seed: int) -> nn.Module:
    network = small(seed)
    network.kept = []
    network[0].register_forward_hook(lambda module, args, output: output * 2)
    network(PAIRS[0][0])
    return network


def bound(seed: int) -> nn.Module:
    network = small(seed)
    network[3].forward = types.MethodType(lambda self, x: nn.Linear.forward(self, x) * 2, network[3])
    return network


DERIVED = {
    "old weight norm": old_weight_norm,
    "weight norm": new_weight_norm,
    "pruned": pruned,
    "cached activations": with_cache,
    "hooks": with_hooks,
    "a bound forward": bound,
    "old spectral norm": old_spectral_norm,
}


@pytest.mark.kind("F13")
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("name", ["linear_path", "rewind", "align", "compare"])
@pytest.mark.parametrize("form", DERIVED)
def test_networks_with_tensors_of_a_graph_can_be_copied(form: str, name: str) -> None:
    a, b = (DERIVED[form](seed) for seed in (0, 1))
    try:
        FUNCTIONS[name](a, b, PAIRS)
    except AlignmentError:  # an operation without a rule
        assert name == "align"
    if name == "linear_path" and form != "old spectral norm":
        own = [nn.functional.cross_entropy(net.eval()(x), y) for net in (a, b) for x, y in PAIRS]
        ends = [float(own[0] + own[1]) / 2, float(own[2] + own[3]) / 2]
        assert path(a, b)[::2] == pytest.approx(ends, rel=1e-6)
    a.train()(PAIRS[0][0]).sum().backward()


@pytest.mark.kind("F13")
def test_a_copy_never_runs_parts_of_the_network_itself() -> None:
    replaced, hooked = small(0), small(0)
    former = replaced[3].forward
    replaced[3].forward = lambda x: former(x) * 2
    hooked[0].register_forward_hook(lambda _module, _args, output: output + hooked[0].bias.sum())
    for network in (replaced, hooked):
        with pytest.raises(ArchitectureError, match=r"cannot be copied(?s:.*)types\.MethodType"):
            path(network, small(1))
        assert ts.cka(network, loader=PAIRS, execution=ON_CPU).examples == 24


@pytest.mark.kind("F13")
def test_what_cannot_be_copied_is_told() -> None:
    network = small(0)
    network.lock = threading.Lock()
    with pytest.raises(ArchitectureError, match=r"cannot be copied: TypeError(?s:.*)lock(?s:.*)__deepcopy__"):
        path(network, small(1))
    assert ts.cka(network, loader=PAIRS, execution=ON_CPU).examples == 24


@pytest.mark.kind("F9")
@pytest.mark.parametrize("name", ["cka", "linear_path", "rewind", "hessian"])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_what_the_caller_is_in_changes_nothing(name: str, mode) -> None:
    a, b = small(0), small(1)
    with mode():
        FUNCTIONS[name](a, b, PAIRS)
    a(PAIRS[0][0]).sum().backward()


# Keyword arguments


class Named(nn.Module):
    """Calls all its layers by keyword."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.bn, self.pool = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.bn(input=self.conv(input=x)).relu()
        return self.fc(input=self.pool(input=x).flatten(1))


class Positional(Named):
    def forward(self, x):
        return self.fc(self.pool(self.bn(self.conv(x)).relu()).flatten(1))


@pytest.mark.kind("F14")
@pytest.mark.parametrize("name", DISTINCT)
def test_every_function_takes_layers_called_by_keyword(name: str) -> None:
    FUNCTIONS[name](Named(0), Named(1), PAIRS)


@pytest.mark.kind("F14")
def test_layers_called_by_keyword_give_what_others_give() -> None:
    assert path(Named(0), Named(1), recompute_on=PAIRS) == path(Positional(0), Positional(1), recompute_on=PAIRS)
    first, second = (ts.spectra(make(0), PAIRS[0][0]) for make in (Named, Positional))
    assert [(o.operator.name, o.size) for o in first.found] == [(o.operator.name, o.size) for o in second.found]
    assert first.skipped == second.skipped
    named, positional = (ts.domain_distance(make(0), None, ts.Domain(PAIRS), **CPU) for make in (Named, Positional))
    assert named.rows == positional.rows
