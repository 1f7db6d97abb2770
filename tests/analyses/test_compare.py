"""Two networks and data: the page, its numbers, and what is left out with its reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.analyses.lines_by_hand import Exploding, batches, between, images, network, recomputed, same, snapshot
from tests.studies import Tiny
from transferscope.errors import ActivationError, LoaderError, MeasureError
from transferscope.measures.intervals import noninferior
from transferscope.measures.metric_difference import gap_over_examples
from transferscope.methods.compare.compare import PathGrid, compare
from transferscope.methods.evaluation import Evaluation, Execution
from transferscope.methods.landscape.linear_path import alpha_grid, linear_path
from transferscope.methods.similarity.cka import cka
from transferscope.networks import evaluate
from transferscope.networks.batchnorm import recompute
from transferscope.networks.evaluate import logits

CPU = torch.device("cpu")

THREE_POINTS = PathGrid(points=3, refine=None)
ON_CPU = Evaluation(device="cpu")


@pytest.fixture
def pair():
    return network(0), network(1)


def test_the_numbers_are_those_of_the_parts(pair) -> None:
    a, b = pair
    data, train = batches(60, 20), batches(40, 20, seed=3)
    found = compare(
        a, b, data, evaluation=Evaluation(recompute_on=train, device="cpu"), path=PathGrid(points=5, refine=None)
    )
    (first, labels), (second, _) = (logits(model, data, CPU) for model in pair)
    wrong = [(values.argmax(1) != labels) for values in (first, second)]
    assert found.examples == 60
    assert found.metrics == pytest.approx([1 - float(side.double().mean()) for side in wrong])
    assert found.mistakes.common == int((wrong[0] & wrong[1]).sum())
    assert (found.mistakes.only_a, found.mistakes.only_b) == (
        int((wrong[0] & ~wrong[1]).sum()),
        int((~wrong[0] & wrong[1]).sum()),
    )
    squares = {
        name: float((p.detach() - dict(b.named_parameters())[name].detach()).double().square().sum())
        for name, p in a.named_parameters()
    }
    assert found.distance.l2 == pytest.approx(sum(squares.values()) ** 0.5)
    for part, distance in found.distance_by_module.items():
        own = [value for name, value in squares.items() if name.startswith(part + ".")]
        assert distance.l2 == pytest.approx(sum(own) ** 0.5)
    assert np.allclose(found.similarity.values, cka(a, b, data, execution=Execution(device="cpu")).values)
    path = linear_path(
        a, b, {"x": data}, evaluation=Evaluation(recompute_on=train, device="cpu"), alphas=alpha_grid(5, 0, 0)
    )
    assert found.path.alphas == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert np.array_equal(found.path.values("held-out", "loss"), path.values("x", "loss"))
    assert found.error_barrier == path.barrier("x", "error")
    assert found.loss_barrier == path.barrier("x", "loss")
    assert found.not_measured == {}


def test_both_networks_are_left_as_they_were(pair) -> None:
    a, b = pair
    a.train()
    before = snapshot(a), snapshot(b)
    compare(a, b, batches(), evaluation=Evaluation(recompute_on=batches(), device="cpu"), path=THREE_POINTS)
    assert same(before[0], snapshot(a))
    assert same(before[1], snapshot(b))


def test_the_page(pair) -> None:
    text = str(
        compare(
            *pair,
            batches(60, 20),
            evaluation=Evaluation(recompute_on=batches(40, 20, seed=3), device="cpu"),
            path=PathGrid(points=5, refine=None),
        )
    )
    lines = text.splitlines()
    assert lines[0].startswith("60 examples; top1: a 0.")
    for word in ("mistakes    common ", "consistency κ ", "distance    ‖a − b‖ = ", "path        error barrier ",
                 "path        loss barrier ", "(batch norm: recompute)", "CKA a/b"):  # fmt: skip
        assert word in text
    # One line for each module, with its CKA and its distance.
    assert [line.split()[0] for line in lines[-3:]] == ["stem", "block", "head"]
    assert all(len(line.split()) == 3 for line in lines[-3:])
    assert not any(line.startswith("left out") for line in lines)


def trained(model: nn.Module) -> nn.Module:
    """So far apart from chance that its errors on the training images are few."""
    x, y = images(60)
    model = model.train()
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


def test_the_words_follow_the_limits_of_the_error_barrier() -> None:
    a = trained(network(0, False, width=8))
    # Fewer than 183 of which none differs do not show that less than two points do.
    data = batches(60, 20) * 4
    itself = compare(a, a, data, path=THREE_POINTS, evaluation=ON_CPU)
    assert "linearly connected along the straight line (error barrier below 2 points)" in itself.text
    opposite = network(0, False, width=8)
    with torch.no_grad():
        for p, q in zip(opposite.parameters(), a.parameters(), strict=True):
            p.copy_(q)
        # The same function with its channels turned over: half-way between them features cancel out.
        flip = torch.arange(7, -1, -1)
        opposite.stem[0].weight.copy_(a.stem[0].weight[flip])
        opposite.stem[0].bias.copy_(a.stem[0].bias[flip])
        opposite.block[0].weight.copy_(a.block[0].weight[flip][:, flip])
        opposite.block[0].bias.copy_(a.block[0].bias[flip])
        opposite.head.weight.copy_(a.head.weight[:, flip])
    far = compare(a, opposite, data, path=THREE_POINTS, evaluation=ON_CPU)
    assert far.mistakes.only_a == far.mistakes.only_b == 0
    assert far.error_barrier.mean.interval.low > 0.02
    assert "a barrier of 2 points or more lies on the straight line between them: not in one basin" in far.text
    assert "do not average them: it costs more than 0.005 of the better one's metric" in far.text
    # The hidden units stand in another order, and that is all.
    assert far.alignment is not None
    assert far.aligned_barrier.mean.value == 0
    assert far.aligned.distance == pytest.approx(0, abs=1e-5)
    assert "why: the hidden units are in another order" in far.text
    assert "aligned     error barrier 0.0000 above the mean of the ends" in far.text
    unasked = compare(a, opposite, data, path=THREE_POINTS, align_by=None, evaluation=ON_CPU)
    assert (unasked.alignment, unasked.aligned, unasked.aligned_barrier) == (None, None, None)
    few = compare(a, opposite, [(x[:4], y[:4]) for x, y in data[:1]], path=THREE_POINTS, evaluation=ON_CPU)
    assert "undecided whether a barrier of 2 points lies between them" in few.text


def test_connected_networks_are_not_aligned_and_may_be_averaged() -> None:
    a = trained(network(0, False, width=8))
    # That two networks differ at none of few examples does not show that they never do.
    few = compare(a, a, batches(60, 20), path=THREE_POINTS, evaluation=ON_CPU)
    assert (few.average.loss.value, few.average.verdict) == (0, "undecided")
    found = compare(a, a, batches(60, 20) * 14, path=THREE_POINTS, evaluation=ON_CPU)
    assert (found.alignment, found.aligned) == (None, None)
    assert found.average.metric == found.metrics[0]
    assert (found.average.loss.value, found.average.verdict) == (0, "kept")
    assert "averaging is safe: it costs less than 0.005 of the better one's metric" in found.text


def test_the_average_is_the_network_half_way_with_its_own_statistics(pair) -> None:
    a, b = pair
    data, train = batches(60, 20), batches(40, 20, seed=3)
    found = compare(
        a, b, data, evaluation=Evaluation(recompute_on=train, device="cpu"), path=THREE_POINTS, align_by=None
    )
    values, labels = logits(recomputed(between(a, b, 0.5), train), data, CPU)
    assert found.average.metric == pytest.approx(float((values.argmax(1) == labels).double().mean()))
    better = int(found.metrics[1] > found.metrics[0])
    assert found.average.better == better
    wanted = gap_over_examples([logits(pair[better], data, CPU)[0]], [values], labels, "top1", None, 2000, 0)
    assert found.average.loss.value == pytest.approx(wanted.value)
    assert found.average.loss.low <= found.average.loss.value <= found.average.loss.high
    assert found.average.verdict == noninferior(found.average.loss).verdict
    assert f"less than that of {'ab'[better]}, the better one, by" in found.text
    assert "(batch norm: recompute)" in next(line for line in found.text.splitlines() if line.startswith("average"))


def test_what_cannot_be_aligned_is_left_out_with_its_reason() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.first(x)
            return self.last(hidden if float(hidden.sum()) > 0 else -hidden)

    torch.manual_seed(1)
    found = compare(Odd(), Odd(), [(torch.randn(8, 4), torch.arange(8) % 3)], path=THREE_POINTS, evaluation=ON_CPU)
    assert found.alignment is None
    assert found.path is not None
    assert found.not_measured["aligned path"]
    assert "left out    aligned path: " in found.text


def test_heads_of_different_size_leave_the_trunk() -> None:
    a, b = network(0, False), Tiny(5, 4, False)
    found = compare(
        a, b, batches(), head="head", path=PathGrid(points=5, refine=None), align_by=None, evaluation=ON_CPU
    )
    assert found.path.moved == "trunk"
    assert (found.mistakes, found.average, found.metrics[1]) == (None, None, None)
    assert found.not_measured["mistakes and metric of b"].startswith("its head has 5 outputs, that of a 3")
    trunk = [name for name, _ in a.named_parameters() if not name.startswith("head")]
    second = dict(b.named_parameters())
    squares = sum(
        float((p - second[n]).detach().double().square().sum()) for n, p in a.named_parameters() if n in trunk
    )
    assert found.distance.l2 == pytest.approx(squares**0.5)
    assert found.path.distance == pytest.approx(squares**0.5)
    assert set(found.distance_by_module) == {"stem", "block"}
    assert "trunk only: the head is that of a on the whole line, at b's end too" in found.text
    # Without the name of the head there is no telling what the trunk is.
    assert compare(a, b, batches(), path=THREE_POINTS, evaluation=ON_CPU).path is None


def test_the_page_says_how_finely_the_path_was_looked_at(pair) -> None:
    data = batches(60, 20)
    found = compare(network(0, False), network(1, False), data, align_by=None, evaluation=ON_CPU)
    assert found.path.resolution.equivalent <= 49
    assert len(found.path.alphas) == found.path.resolution.evaluations <= 24
    assert found.path.resolution.text in found.text
    assert (
        "3 points in [0, 1]"
        in compare(*pair, data, evaluation=Evaluation(recompute_on=data), path=THREE_POINTS, align_by=None).text
    )


def test_the_fast_way_says_how_far_off_it_is(pair) -> None:
    data, train = batches(60, 20), batches(40, 20, seed=3)
    evaluation = Evaluation(recompute_on=train, device="cpu")
    exact, fast = (
        compare(*pair, data, evaluation, path=PathGrid(points=5, refine=None, fast=fast)) for fast in (False, True)
    )
    recheck = fast.path.recheck
    assert exact.path.recheck is None
    assert "bfloat16" not in exact.text
    assert {0.0, 1.0, fast.error_barrier.mean.alpha, fast.loss_barrier.mean.alpha} <= set(recheck.alphas)
    assert 0 < recheck.loss < 0.1
    # Neither a barrier that is not there nor one that is hidden by more than what bfloat16 changed.
    for quantity, bound in (("loss", recheck.loss), ("error", recheck.error)):
        one, two = getattr(fast, f"{quantity}_barrier").mean, getattr(exact, f"{quantity}_barrier").mean
        at = exact.path.alphas.index(one.alpha)
        means = exact.path.values("held-out", quantity).mean(axis=1)
        assert one.value == pytest.approx(max(0.0, means[at] - (means[0] + means[-1]) / 2), abs=1e-6)
        assert one.value <= two.value + 1e-6
        assert two.value <= one.value + 2 * bound + 1e-6
    assert recheck.text in fast.text
    # Outside the path nothing is of another precision.
    assert fast.metrics == exact.metrics
    assert np.array_equal(fast.similarity.values, exact.similarity.values)
    assert fast.average == exact.average


def test_the_network_after_aligning_is_reached_the_fast_way_too() -> None:
    a, b = (trained(network(seed, False, width=8)) for seed in (0, 1))
    found = compare(a, b, batches(60, 20), path=PathGrid(points=3, refine=None, fast=True), evaluation=ON_CPU)
    assert found.aligned.recheck is not None
    assert found.text.count("computed in bfloat16, ends and maxima again in float32") == 2


def test_what_is_being_done_is_told(pair) -> None:
    told: list[tuple[str, int, int]] = []
    data = batches(60, 20)
    compare(
        *pair,
        data,
        evaluation=Evaluation(recompute_on=data, device="cpu"),
        path=THREE_POINTS,
        on_step=lambda *step: told.append(step),
    )
    assert [step for step in told if step[0] == "path"] == [("path", done, 3) for done in (1, 2, 3)]
    assert [name for name, _, most in told if most == 0] == [
        "outputs and features",
        "average",
        "order of the hidden units",
    ]
    assert told[-1] == ("path to the aligned network", 3, 3)


def test_networks_that_guess_get_no_verdict() -> None:
    """Where classes are in another order all are wrong, and a path between two such networks has no barrier."""
    a, data = trained(network(0, False, width=8)), batches(60, 20) * 14
    turned = [(x, (y + 1) % 3) for x, y in data]
    options = {"path": THREE_POINTS, "evaluation": ON_CPU}
    right, wrong = compare(a, a, data, **options), compare(a, a, turned, **options)
    assert (right.guessing, wrong.guessing) == ((), ("a", "b"))
    assert right.chance == wrong.chance == pytest.approx(1 / 3)
    assert "WARNING" not in right.text
    assert "WARNING: a and b not surely better than guessing (top1 0.3333): are the classes and their" in wrong.text
    assert wrong.text.count("no verdict: a network that guesses has nothing to lose") == 2
    for words in ("linearly connected", "averaging is safe"):
        assert words in right.text
        assert words not in wrong.text
    # A share a little above chance is so by luck as well.
    assert replace(right, metrics=(0.4, 0.6), examples=60).guessing == ("a",)
    assert replace(right, metrics=(0.4, None), metric_name="auc").guessing == ()


@pytest.mark.kind("F21")
@pytest.mark.parametrize("classes", [2, 5])
def test_heads_of_two_sizes_say_how_to_compare_the_rest(classes: int) -> None:
    torch.manual_seed(0)
    a, b = Tiny(3, 8, False), Tiny(classes, 8, False)
    unnamed = compare(a, b, batches(), path=THREE_POINTS, evaluation=ON_CPU).not_measured["distance and path"]
    assert "the module 'head' has another size" in unnamed
    assert unnamed.endswith("name it (head='head'; of a path trunk_of='head'): the rest is then compared")
    named = compare(a, b, batches(), head="head", path=THREE_POINTS, evaluation=ON_CPU)
    assert "distance and path" not in named.not_measured
    assert named.path is not None
    assert "name it" not in named.not_measured.get("aligned path", "")


def test_batch_norm_without_training_images_leaves_the_path_out(pair) -> None:
    found = compare(*pair, batches(), evaluation=ON_CPU)
    assert (found.path, found.error_barrier, found.loss_barrier) == (None, None, None)
    assert found.not_measured["path"].startswith("the networks have batch norm, and no training batches were given")
    assert "left out    path: the networks have batch norm" in found.text
    assert found.distance is not None


def test_networks_of_other_shapes_are_compared_as_far_as_they_can_be(pair) -> None:
    found = compare(pair[0], Tiny(3, 6, True), batches(), evaluation=Evaluation(recompute_on=batches(), device="cpu"))
    assert found.distance is None
    assert found.distance_by_module == {}
    assert list(found.not_measured) == ["distance and path"]
    assert "the networks' parameters differ in name or shape: " in found.not_measured["distance and path"]
    assert found.similarity.modules["a"] == ("stem", "block", "head")
    assert [line.split()[-1] for line in found.text.splitlines()[-3:]] == ["–"] * 3


def test_a_loss_that_is_not_finite_leaves_its_barrier_out() -> None:
    class Between(Exploding):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.linear(x)
            return torch.where((self.at > 0.2) & (self.at < 0.8) & (x[:, :1] > 0), out * float("inf"), out)

    torch.manual_seed(0)
    data = [(torch.randn(16, 4), torch.arange(16) % 3)]
    found = compare(Between(0.0), Between(1.0), data, path=THREE_POINTS, evaluation=ON_CPU)
    assert found.loss_barrier is None
    assert found.error_barrier is not None
    assert found.not_measured == {"loss barrier": "the loss of a network between them is not finite"}


def test_limits_of_barriers_are_over_groups_where_they_are_named(pair) -> None:
    data, train = batches(60, 20), batches(40, 20, seed=3)
    groups = np.repeat(np.arange(10), 6)
    found = compare(
        *pair, data, evaluation=Evaluation(recompute_on=train, device="cpu"), path=THREE_POINTS, clusters=groups
    )
    assert found.loss_barrier == found.path.barrier("held-out", "loss", groups)
    assert found.loss_barrier.mean.interval.n == 10


def test_several_labels_are_judged_one_by_one() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(24, 4, generator=generator)
    y = (torch.rand(24, 3, generator=generator) < 0.5).to(torch.uint8)
    a, b = nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.Linear(4, 3))
    found = compare(a, b, [(x, y)], evaluation=Evaluation(metric="auc", device="cpu"), path=THREE_POINTS)
    assert (found.examples, found.mistakes.examples) == (24, 72)
    assert found.text.startswith("24 examples; auc: a 0.")


def test_statistics_come_from_the_training_images_alone(pair) -> None:
    """What is left of a network's own statistics at the ends is nothing: they are recomputed there as well."""
    a, b = pair
    train = batches(40, 20, seed=3)
    found = compare(a, b, batches(), evaluation=Evaluation(recompute_on=train, device="cpu"), path=THREE_POINTS)
    recompute(a, train)
    values, labels = logits(a, batches(), CPU)
    losses = nn.functional.cross_entropy(values.double(), labels, reduction="none").numpy()
    np.testing.assert_allclose(found.path.values("held-out", "loss")[0], losses, rtol=1e-6)


def test_what_cannot_be_compared_is_named(pair) -> None:
    with pytest.raises(MeasureError, match="points does not fit a path"):
        compare(*pair, batches(), path=PathGrid(points=1, refine=None), evaluation=ON_CPU)
    with pytest.raises(ActivationError, match="no module of network 'a' has an output that can be compared"):
        compare(
            nn.Linear(4, 3),
            nn.Linear(4, 3),
            [(torch.randn(8, 4), torch.arange(8) % 3)],
            path=THREE_POINTS,
            evaluation=ON_CPU,
        )
    with pytest.raises(LoaderError, match="can be read only once"):
        compare(*pair, iter(batches()), evaluation=ON_CPU)


def test_loaders_are_found_deterministic_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing, the path, the order of hidden units and the path to the aligned network read the same two loaders."""
    seen: list[int] = []
    compare_passes = evaluate._compare_passes
    monkeypatch.setattr(
        evaluate, "_compare_passes", lambda data, read: (seen.append(id(data)), compare_passes(data, read))
    )
    data, train = batches(60, 20), batches(40, 20, seed=3)
    evaluation = Evaluation(recompute_on=train, device="cpu")
    assert compare(network(0), network(1), data, evaluation, path=THREE_POINTS).aligned is not None
    assert sorted(seen) == sorted([id(data), id(train)])
    compare(network(0), network(1), data, evaluation, path=THREE_POINTS, align_by=None)
    assert len(seen) == 4  # another call looks again
