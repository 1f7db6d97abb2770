"""Networks as people have them: wrapped, compiled, scripted, with derived weights, caches, other types."""

import copy
import threading
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import transferscope as ts
from tests.callers import CPU, DISTINCT, FUNCTIONS, gathered
from transferscope.errors import AlignmentError, ArchitectureError, LoaderError, MeasureError, TransferscopeError
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


# What cannot be looked at


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def of_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return small()


class MakesItself(nn.Module):
    """Lazy without torch's own lazy modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), None

    def forward(self, x):
        x = self.conv(x).flatten(1)
        if self.fc is None:
            self.fc = nn.Linear(x.shape[1], 3)
        return self.fc(x)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SCRIPTED = torch.jit.script(small())
    TRACED = torch.jit.trace(small(), PAIRS[0][0])

REFUSED = {
    "scripted": ("F15", lambda: SCRIPTED, "TorchScript networks are not supported"),
    "traced": ("F15", lambda: TRACED, "TorchScript networks are not supported"),
    "scripted inside": ("F15", lambda: nn.Sequential(nn.Identity(), SCRIPTED), "TorchScript(?s:.*)at '1'"),
    "scripted and spread": ("F15", lambda: nn.DataParallel(TRACED), "TorchScript(?s:.*)at 'module'"),
    "lazy": ("F9", lazy, "not initialised: '0.weight' has no shape(?s:.*)run it on one batch"),
    "lazy buffers": ("F9", lambda: nn.Sequential(nn.LazyBatchNorm2d(affine=False), small()), "'0.running_mean'"),
    "makes itself": ("F9", MakesItself, r"makes parameters in its first forward pass(?s:.*)fc\.weight"),
    "meta": ("F9", lambda: small().to("meta"), "holds no values: '0.weight' is on the device 'meta'"),
    "of inference mode": ("F9", of_inference_mode, "made in inference mode: '0.weight'"),
    "weights": ("F9", lambda: small().state_dict(), "this is no network"),
    "a function": ("F9", lambda: torch.relu, "this is no network"),
    "a compiled function": ("F16", lambda: torch.compile(small().forward, backend="eager"), "of a compiled function"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "what", [pytest.param(key, marks=pytest.mark.kind(value[0])) for key, value in REFUSED.items()]
)
def test_networks_that_cannot_be_looked_at(name: str, what: str) -> None:
    _, make, message = REFUSED[what]
    if (what, name) in (("makes itself", "spectra"), ("makes itself", "domain_distance")):
        pytest.skip("looks at what there is")
    a, b = make(), make() if what == "makes itself" else small(1)
    with pytest.raises(ArchitectureError, match=message):
        FUNCTIONS[name](a, b, PAIRS)
    if what == "lazy":
        assert [type(module) for module in a] == [nn.LazyConv2d, nn.ReLU, nn.Flatten, nn.LazyLinear]
        a(PAIRS[0][0])  # can still be initialised


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
    prune.l1_unstructured(network[0], "weight", amount=0.5)
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


# Types


class Words(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.mix, self.fc = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, ids):
        return self.fc(self.mix(self.table(ids)).relu().mean(1))


WORDS = [(torch.randint(0, 10, (12, 5), generator=GENERATOR), torch.arange(12) % 3) for _ in range(2)]


@pytest.mark.kind("F19")
@pytest.mark.parametrize(("name", "dtype"), [*((name, torch.int64) for name in DISTINCT), ("linear_path", torch.int32)])
def test_indices_are_kept(name: str, dtype: torch.dtype) -> None:
    FUNCTIONS[name](Words(0), Words(1), [(x.to(dtype), y) for x, y in WORDS])


@pytest.mark.kind("F19")
def test_the_hessian_of_a_network_of_indices() -> None:
    network = Words().double()
    found = ts.hessian(network, WORDS, tolerance=1e-6, dtype="float64", evaluation=ts.Evaluation(**CPU))
    parameters = dict(network.named_parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters.values()])

    def loss(vector):
        parts = vector.split([p.numel() for p in parameters.values()])
        state = {n: part.view_as(p) for part, (n, p) in zip(parts, parameters.items(), strict=True)}
        outputs = [torch.func.functional_call(network, state, (x,)) for x, _ in WORDS]
        return nn.functional.cross_entropy(torch.cat(outputs), torch.cat([y for _, y in WORDS]))

    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    assert found.eigenvalues[0] == pytest.approx(float(exact[-1]), rel=1e-4)


@pytest.mark.kind("F19")
def test_indices_outside_the_table_are_told() -> None:
    with pytest.raises(
        LoaderError, match=r"fails on a batch of torch.int64(?s:.*)IndexError(?s:.*)within the embedding"
    ):
        path(Words(0), Words(1), [(WORDS[0][0] + 9, WORDS[0][1])])


@pytest.mark.kind("F19")
@pytest.mark.parametrize(
    "name", ["cka", "channel_reuse", "domain_distance", "spectra", "align", "linear_path", "rewind"]
)
@pytest.mark.parametrize(
    ("of_network", "of_inputs"),
    [
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float16),
        (torch.float16, torch.float32),
    ],
)
def test_inputs_come_in_the_type_of_the_network(name: str, of_network, of_inputs) -> None:
    FUNCTIONS[name](small(0).to(of_network), small(1).to(of_network), [(x.to(of_inputs), y) for x, y in PAIRS])


@pytest.mark.kind("F19")
def test_the_type_of_inputs_changes_no_number() -> None:
    wide = [(x.double(), y) for x, y in PAIRS]
    assert path(small(0), small(1), wide) == path(small(0), small(1))
    assert np.array_equal(
        ts.cka(small(0), loader=wide, execution=ON_CPU).values, ts.cka(small(0), loader=PAIRS, execution=ON_CPU).values
    )
    mixed = ts.cka_networks({"a": small(0), "b": small(0).double()}, wide, execution=ON_CPU)
    assert mixed.between("a", "b").diagonal().tolist() == pytest.approx([1, 1], abs=1e-5)
    half = path(small(0).bfloat16(), small(1).bfloat16())
    assert half == pytest.approx(path(small(0), small(1)), rel=0.02)


# Messages


def headed(classes: int) -> nn.Module:
    network = small()
    network[3] = nn.Linear(144, classes)
    return network


class Tied(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, 192), nn.Linear(192, 192)
        self.fc = nn.Linear(192, 3)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        return self.fc(self.second(self.first(x.flatten(1))))


def cached(ran: bool) -> nn.Module:
    network = small()
    network.register_buffer("positions", torch.ones(3) if ran else None)
    return network


@pytest.mark.kind("F21")
@pytest.mark.parametrize(
    ("b", "cause"),
    [
        (lambda: small(1).bfloat16(), r"one is float32, the other bfloat16(?s:.*)b\.to\(torch\.float32\)"),
        (lambda: small(1).double(), "one is float32, the other float64"),
        (lambda: nn.DataParallel(small(1)), r"the second is wrapped(?s:.*)'module\.'(?s:.*)get_submodule\('module'\)"),
        (lambda: Wrapper(small(1)), r"differ"),
        (lambda: nn.Sequential(nn.Identity(), small(1)), r"the second is wrapped(?s:.*)get_submodule\('1'\)"),
        (lambda: headed(5), r"the module '3' has another size(?s:.*)if it is the head, name it"),
        (lambda: cached(True), r"positions \(a buffer is in the second(?s:.*)run both on a batch before, or neither"),
    ],
)
def test_why_there_is_no_line_between_networks(b, cause: str) -> None:
    a = cached(False)
    with pytest.raises(MeasureError, match=cause):
        path(a, b())
    compared = ts.compare(
        a, b(), PAIRS, path=ts.PathGrid(points=3, refine=None), align_by=None, evaluation=ts.Evaluation(**CPU)
    )
    assert {"path", "distance and path"} & compared.not_measured.keys()


@pytest.mark.kind("F21")
def test_other_causes_of_no_line() -> None:
    with pytest.raises(MeasureError, match=r"the first is wrapped"):
        path(nn.DataParallel(small(0)), small(1))
    with pytest.raises(MeasureError, match=r"second\.weight \(a weight is tied(?s:.*)tie it in both"):
        path(Tied(True), Tied(False))
    with pytest.raises(MeasureError, match=r"2\.weight(?s:.*)tensors are in one of them alone"):
        path(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(192, 3)))
    with pytest.raises(AlignmentError, match="the second is wrapped"):
        ts.align(small(0), nn.Sequential(nn.Identity(), small(1)), PAIRS, **CPU)


@pytest.mark.kind("F21")
@pytest.mark.parametrize(
    ("network", "labels", "message"),
    [
        (lambda: headed(1), lambda y: y % 2, r"one output, and labels name two classes(?s:.*)labels\[:, None\]"),
        (lambda: headed(1), lambda y: (y % 2).float(), r"labels must be integers(?s:.*)labels\[:, None\]"),
        (lambda: headed(3), lambda y: y + 1, r"out of range(?s:.*)0 to 2(?s:.*)1 to 3(?s:.*)labels - 1"),
        (lambda: headed(3), lambda y: y - 1, r"out of range(?s:.*)-1 to 1(?s:.*)without a label"),
        (lambda: headed(2), lambda y: y, r"out of range(?s:.*)0 to 2 for 2 outputs(?s:.*)as many outputs"),
        (lambda: headed(3), lambda y: y[:, None], r"do not fit(?s:.*)labels\.squeeze\(1\)"),
        (lambda: headed(3), lambda y: y.double(), r"labels must be integers(?s:.*)labels\.long\(\)"),
    ],
)
def test_why_labels_do_not_fit(network, labels, message: str) -> None:
    data = [(x, labels(y)) for x, y in PAIRS]
    for call in (
        lambda: path(network(), network(), data),
        lambda: ts.compare(network(), network(), data, evaluation=ts.Evaluation(**CPU)),
    ):
        with pytest.raises(MeasureError, match=message):
            call()


class Output(nn.Module):
    def __init__(self, form) -> None:
        super().__init__()
        self.net, self.form = small(), form

    def forward(self, x):
        return self.form(self.net(x))


@pytest.mark.kind("F21")
@pytest.mark.parametrize(
    "form", [lambda x: (x, x), lambda x: [x], lambda x: {"logits": x}, lambda x: types.SimpleNamespace(logits=x)]
)
@pytest.mark.parametrize(
    "name", ["linear_path", "compare", "hessian", "rewind", "criticality", "align", "plane_around"]
)
def test_outputs_that_are_no_logits(name: str, form) -> None:
    with pytest.raises(
        TransferscopeError, match=r"does not give one (row of logits per image|tensor)|cannot be traced"
    ):
        FUNCTIONS[name](Output(form), copy.deepcopy(Output(form)), PAIRS)


class Stochastic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, x):
        return nn.functional.dropout(self.net(x), 0.5, training=True)


@pytest.mark.kind("F9")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("spectra", "domain_distance")])
def test_dropout_that_ignores_the_mode(name: str) -> None:
    with pytest.raises(ArchitectureError, match="other outputs for the same images"):
        FUNCTIONS[name](Stochastic(), Stochastic(), PAIRS)
