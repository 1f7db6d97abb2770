import pytest
import torch
from torch import nn

from transferscope.errors import ModuleNameError, StudyError
from transferscope.specs.recipe import Recipe
from transferscope.training.optimisers import (
    build_optimiser,
    check_module_rates,
    frozen_modules,
    is_norm_or_bias,
    load_optimiser_state,
    optimiser_state,
    parameter_groups,
    rate_factor,
    set_rate,
    training_mode,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.Dropout(0.5)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(8),
        nn.Linear(8, 2),
    )


def recipe(**settings):
    return Recipe(**({"learning_rate": 0.1, "epochs": 2} | settings))


def steps(model, optimiser, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        optimiser.zero_grad(set_to_none=True)
        model(torch.randn(4, 3, 8, 8, generator=generator)).square().sum().backward()
        optimiser.step()


class TestRateFactor:
    def test_the_longest_prefix_wins(self):
        rates = {"a": 0.5, "a.b": 0.1}
        assert rate_factor("a.b.weight", rates) == 0.1
        assert rate_factor("a.c.weight", rates) == 0.5
        assert rate_factor("a", rates) == 0.5

    def test_a_prefix_is_whole_names(self):
        assert rate_factor("layer10.weight", {"layer1": 0.0}) == 1.0

    def test_the_empty_name_covers_all(self):
        assert rate_factor("trunk.weight", {"": 0.0, "head": 1.0}) == 0.0
        assert rate_factor("", {"": 0.0}) == 0.0
        assert rate_factor("head.weight", {"": 0.0, "head": 1.0}) == 1.0

    def test_an_unknown_module_is_named_with_the_nearest(self):
        with pytest.raises(ModuleNameError, match="did you mean 'layer'"):
            check_module_rates(nn.ModuleDict({"layer": nn.Linear(1, 1)}), {"laier": 0.0})


class TestGroups:
    def test_norms_and_biases_are_told_apart(self):
        spared = is_norm_or_bias(network())
        assert {name for name, spare in spared.items() if not spare} == {"0.0.weight", "1.0.weight", "5.weight"}

    def test_a_norm_of_many_dimensions_is_a_norm(self):
        assert is_norm_or_bias(nn.Sequential(nn.LayerNorm([2, 3, 3])))["0.weight"]

    def test_decay_is_off_norms_and_biases_on_request(self):
        groups = parameter_groups(network(), recipe(decay_norm_and_bias=False, weight_decay=0.01))
        decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
        assert decay["0.0.weight"] == 0.01
        assert decay["0.0.bias"] == decay["0.1.weight"] == decay["4.weight"] == decay["5.bias"] == 0
        everywhere = parameter_groups(network(), recipe(weight_decay=0.01))
        assert [group["weight_decay"] for group in everywhere] == [0.01]

    def test_every_parameter_is_in_one_group(self):
        model = network()
        groups = parameter_groups(model, recipe(module_rates={"0": 0.5}, decay_norm_and_bias=False))
        names = [name for group in groups for name in group["names"]]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())

    def test_frozen_parameters_are_in_none(self):
        model = network()
        model[5].bias.requires_grad_(False)
        names = [name for group in parameter_groups(model, recipe(module_rates={"0": 0})) for name in group["names"]]
        assert not any(name.startswith("0.") for name in names)
        assert "5.bias" not in names

    def test_nothing_to_train(self):
        with pytest.raises(StudyError, match="nothing is left to train"):
            parameter_groups(network(), recipe(module_rates={"": 0}))

    def test_rates_are_multiplied_by_the_factors(self):
        optimiser = build_optimiser(network(), recipe(module_rates={"0": 0.25}))
        set_rate(optimiser, 0.2)
        rates = {name: group["lr"] for group in optimiser.param_groups for name in group["names"]}
        assert rates["0.0.weight"] == pytest.approx(0.05)
        assert rates["5.weight"] == pytest.approx(0.2)


class TestUpdates:
    """Against torch's unfused, single-tensor optimisers."""

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize(
        ("settings", "make"),
        [
            (
                {"optimiser": "sgd"},
                lambda p: torch.optim.SGD(
                    p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, foreach=False, fused=False
                ),
            ),
            (
                {"optimiser": "sgd", "nesterov": False, "momentum": 0.5},
                lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.5, weight_decay=1e-4, foreach=False, fused=False),
            ),
            (
                {"optimiser": "sgd", "momentum": 0.0},
                lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=1e-4, foreach=False, fused=False),
            ),
            (
                {"optimiser": "adamw", "weight_decay": 0.1},
                lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=False, fused=False),
            ),
        ],
    )
    def test_are_torchs(self, settings, make, layout):
        ours, theirs = (network().eval().to(memory_format=layout) for _ in range(2))
        steps(ours, build_optimiser(ours, recipe(learning_rate=0.01, **settings)), 5)
        steps(theirs, make(theirs.parameters()), 5)
        moved = 0.0
        for mine, other, start in zip(ours.parameters(), theirs.parameters(), network().parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
            moved += float((mine - start).detach().abs().sum())
        assert moved > 1

    @pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_go_on_bit_for_bit_from_a_saved_state(self, optimiser, layout):
        settings = recipe(optimiser=optimiser, learning_rate=0.001, module_rates={"0": 0.5})
        straight = network().eval().to(memory_format=layout)
        runner = build_optimiser(straight, settings)
        steps(straight, runner, 3)
        weights = {
            name: value.clone(memory_format=torch.contiguous_format) for name, value in straight.state_dict().items()
        }
        saved = optimiser_state(runner)
        steps(straight, runner, 3, seed=1)

        resumed = network().eval().to(memory_format=layout)
        resumed.load_state_dict(weights)
        again = build_optimiser(resumed, settings)
        load_optimiser_state(again, saved)
        steps(resumed, again, 3, seed=1)
        for mine, other in zip(straight.parameters(), resumed.parameters(), strict=True):
            assert bool(torch.isfinite(mine).all())
            assert torch.equal(mine, other)

    def test_the_saved_state_is_a_copy(self):
        model = network()
        optimiser = build_optimiser(model, recipe())
        steps(model, optimiser, 1)
        saved = optimiser_state(optimiser)
        before = {name: value.clone() for name, value in saved.items()}
        steps(model, optimiser, 1)
        assert all(torch.equal(saved[name], before[name]) for name in saved)
        assert "momentum_buffer/5.weight" in saved


class TestTrainingMode:
    def test_frozen_modules_are_fixed_functions(self):
        model = network()
        with training_mode(model, recipe(module_rates={"1": 0, "1.0": 1, "0": 0.1})):
            assert model[0][1].training
            assert not model[1][2].training
            assert not model[1][1].weight.requires_grad
            assert model[1][0].weight.requires_grad
        assert len(frozen_modules(model, recipe(module_rates={"1": 0, "1.0": 1}))) == 3

    def test_modes_and_gradients_are_put_back(self):
        model = network().eval()
        model[4].train()
        model[5].bias.requires_grad_(False)

        def facts():
            return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]

        def interrupted():
            with training_mode(model, recipe(module_rates={"0": 0})):
                assert facts() != before
                raise KeyboardInterrupt

        before = facts()
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert facts() == before
