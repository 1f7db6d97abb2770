"""Two files of weights without data, against dense references."""

import math
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.compare.checkpoints import decoder, found, moved, normal, numbers, sharded, written
from transferscope.analyses.estimates import Estimate
from transferscope.errors import WeightsError
from transferscope.files.comparison_estimates import weight_notes
from transferscope.methods.compare.weights import compare_weights
from transferscope.networks import stored_tensors
from transferscope.networks.stored_tensors import StoredTensors


def flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.double().reshape(-1) for value in state.values()])


def effective(matrix: Tensor) -> float:
    shares = torch.linalg.svdvals(matrix.double())
    shares = shares / shares.sum()
    return math.exp(-float((shares * shares.log()).sum()))


def check_equal(got: Mapping[tuple[str, ...], Estimate], other: Mapping[tuple[str, ...], Estimate]) -> None:
    """Up to rounding: where a tensor lies in a file may change the order of a sum."""
    assert got.keys() == other.keys()
    for key, item in got.items():
        assert item.value == (None if other[key].value is None else pytest.approx(other[key].value, rel=1e-5)), key


@pytest.mark.parametrize("names", [("a.safetensors", "b.safetensors"), ("a.pt", "b.safetensors"), ("a.pt", "b.pt")])
def test_norms_ranks_and_cosines_are_those_of_dense_tensors(names: tuple[str, str], tmp_path: Path) -> None:
    a = decoder()
    b = moved(a)
    got = numbers(found(*(written(tmp_path / name, state) for name, state in zip(names, (a, b), strict=True))))
    x, y = flat(a), flat(b)
    assert got["distance",].value == pytest.approx(float((y - x).norm()), rel=1e-6)
    assert got["relative_change",].value == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-6)
    assert got["cosine",].value == pytest.approx(float(x @ y / x.norm() / y.norm()), rel=1e-6)
    assert got["changed_share",].value == 1
    module = "model.layers.1.self_attn.q_proj"
    one, other = (state[f"{module}.weight"].double() for state in (a, b))
    change = other - one
    assert got["module_relative_change", module].value == pytest.approx(float(change.norm() / one.norm()), rel=1e-6)
    assert got["module_share_of_change", module].value == pytest.approx(
        float(change.norm() ** 2 / (y - x).norm() ** 2), rel=1e-6
    )
    stable = float(change.norm() ** 2 / torch.linalg.matrix_norm(change, 2) ** 2)
    assert got["module_stable_rank", module, f"{module}.weight"].value == pytest.approx(stable, rel=1e-6)
    assert got["module_effective_rank", module, f"{module}.weight"].value == pytest.approx(effective(change), rel=1e-6)
    shares = [item.value for key, item in got.items() if key[0] == "module_share_of_change"]
    assert sum(shares) == pytest.approx(1)


def test_large_matrices_are_estimated_with_limits_whether_kept_or_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"wide.weight": normal(530, 700), "high.weight": normal(700, 530)}
    after = moved(before)
    files = [written(tmp_path / f"{name}.safetensors", state) for name, state in (("a", before), ("b", after))]
    kept = numbers(found(*files))
    monkeypatch.setattr("transferscope.methods.compare.weights._HELD", 0)
    monkeypatch.setattr("transferscope.methods.compare.weights.PIECE", 9_000)
    files = [written(tmp_path / f"{path.stem}.pt", {n: v.bfloat16() for n, v in state.items()}) for path, state in
             zip(files, (before, after), strict=True)]  # fmt: skip
    again = numbers(found(*files))
    for name in before:
        module = name.removesuffix(".weight")
        for got, (a, b) in (
            (kept, (before, after)),
            (again, [{n: v.bfloat16() for n, v in s.items()} for s in (before, after)]),
        ):
            item = got["module_effective_rank", module, name]
            exact = effective(b[name].double() - a[name].double())
            assert item.low <= exact <= item.high
            assert item.high - item.low < 0.05 * exact
            assert item.basis is None
            assert item.note


def test_shards_are_read_by_their_index_and_a_missing_one_is_named(tmp_path: Path) -> None:
    a = decoder()
    b = moved(a)
    whole = numbers(found(written(tmp_path / "a.safetensors", a), written(tmp_path / "b.safetensors", b)))
    parts = sharded(tmp_path / "parts", b)
    for path in (parts, parts / "model.safetensors.index.json"):
        got = numbers(found(tmp_path / "a.safetensors", path))
        check_equal(got, whole)
    (parts / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match="model-00002-of-00003"):
        found(tmp_path / "a.safetensors", parts)
    other = sharded(tmp_path / "other", b)
    written(other / "model-00002-of-00003.safetensors", {"strange": torch.ones(1)})
    with pytest.raises(WeightsError, match="lacks tensors that its index names"):
        found(tmp_path / "a.safetensors", other)


def test_wrappers_and_prefixes_are_looked_through(tmp_path: Path) -> None:
    a = decoder()
    b = moved(a)
    plain = numbers(found(written(tmp_path / "a.pt", a), written(tmp_path / "b.pt", b)))
    wrapped = {
        "compiled": {f"_orig_mod.{name}": value for name, value in b.items()},
        "parallel": {f"module.{name.replace('self_attn', 'self_attn._orig_mod')}": value for name, value in b.items()},
        "prefixed": {f"student.net.{name}": value for name, value in b.items()},
    }
    for name, state in wrapped.items():
        for nested in (state, {"state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}):
            torch.save(nested, path := tmp_path / f"{name}.pt")
            got = numbers(found(tmp_path / "a.pt", path))
            check_equal(got, plain)
    backwards = found(path, tmp_path / "a.pt")
    assert backwards.names.prefixes == ("student.net.", "")
    assert any("student.net." in note for note in weight_notes(backwards))


def test_what_does_not_correspond_is_said_with_the_nearest_names(tmp_path: Path) -> None:
    a = decoder()
    b = moved(a)
    b["model.layers.0.self_attn.q_prj.weight"] = b.pop("model.layers.0.self_attn.q_proj.weight")
    b["lm_head.weight"] = b["lm_head.weight"][:40]
    got = found(written(tmp_path / "a.safetensors", a), written(tmp_path / "b.safetensors", b))
    assert got.names.gone == ("model.layers.0.self_attn.q_proj.weight",)
    assert got.names.added == ("model.layers.0.self_attn.q_prj.weight",)
    assert got.names.nearest == {got.names.gone[0]: got.names.added}
    assert dict(got.reshaped) == {"lm_head.weight": ((50, 24), (40, 24))}
    counts = {key[0]: item.value for key, item in numbers(got).items() if len(key) == 1}
    assert [counts[f"tensors_{word}"] for word in ("compared", "gone", "added", "reshaped")] == [6, 1, 1, 1]
    assert sum("q_prj" in note for note in weight_notes(got)) == 2
    with pytest.raises(WeightsError, match="no tensor of") as caught:
        found(tmp_path / "a.safetensors", written(tmp_path / "c.safetensors", {"lm_hed.weght": torch.ones(2)}))
    assert "lm_head.weight is like lm_hed.weght" in str(caught.value)


def test_codes_are_no_weights(tmp_path: Path) -> None:
    """Integers, and float8 with a scale beside it, are told equal or not; float8 alone is a number like others."""
    a = {"q.weight": normal(4, 4), "int.weight": torch.arange(6, dtype=torch.int8).view(2, 3)}
    a |= {"f8.weight": normal(4, 4).to(torch.float8_e4m3fn), "f8.weight_scale": torch.ones(1)}
    a |= {"bare.weight": normal(4, 4).to(torch.float8_e5m2), "half.weight": normal(4, 4).half()}
    b = dict(a) | {
        "int.weight": a["int.weight"] + 1,
        "bare.weight": (2 * a["bare.weight"].float()).to(torch.float8_e5m2),
    }
    got = found(written(tmp_path / "a.safetensors", a), written(tmp_path / "b.safetensors", b))
    assert {change.name: change.equal for change in got.of_state("codes")} == {"int.weight": False, "f8.weight": True}
    values = numbers(got)
    assert values["tensors_not_measured",].value == 2
    assert values["module_relative_change", "bare"].value == pytest.approx(1)
    assert ("module_relative_change", "int") not in values
    assert any("codes" in note and "1 of 2 differ" in note for note in weight_notes(got))
    with pytest.warns(UserWarning, match="deprecated"):
        quantised = torch.quantize_per_tensor(normal(4, 4), 0.1, 0, torch.qint8)
    path = written(tmp_path / "q.pt", {"q.weight": quantised})
    assert [change.state for change in found(tmp_path / "a.safetensors", path).tensors] == ["codes"]


def test_two_types_are_compared_as_numbers(tmp_path: Path) -> None:
    a = {"w": normal(30, 20)}
    got = found(written(tmp_path / "a.safetensors", a), written(tmp_path / "b.safetensors", {"w": a["w"].bfloat16()}))
    exact = (a["w"].bfloat16().double() - a["w"].double()).norm() / a["w"].double().norm()
    assert numbers(got)["relative_change",].value == pytest.approx(float(exact), rel=1e-6)
    assert "stored in two types: float32 and bfloat16" in weight_notes(got)


def test_tied_tensors_count_once_and_loosened_ones_are_named(tmp_path: Path) -> None:
    a = decoder()
    a["lm_head.weight"] = a["model.embed_tokens.weight"]
    b = moved(a)
    loose = found(written(tmp_path / "a.pt", a), written(tmp_path / "b.pt", b))
    assert loose.tied == ((("model.embed_tokens.weight", "lm_head.weight"),), ())
    assert numbers(loose)["tensors_untied",].value == 1
    b["lm_head.weight"] = b["model.embed_tokens.weight"]
    both = found(tmp_path / "a.pt", written(tmp_path / "b.safetensors", b))
    x, y = (flat({n: v for n, v in state.items() if n != "lm_head.weight"}) for state in (a, b))
    assert numbers(both)["relative_change",].value == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-6)
    assert numbers(both)["tensors_tied",].value == 1
    assert numbers(both)["tensors_untied",].value == 0
    # Constants that happen to be equal are tied by nobody.
    same = {"one.weight": torch.ones(3, 3), "two.weight": torch.ones(3, 3)}
    assert found(written(tmp_path / "c.pt", same), tmp_path / "c.pt").tied == ((), ())


def test_zeros_and_equal_networks(tmp_path: Path) -> None:
    a = decoder()
    same = numbers(found(written(tmp_path / "a.pt", a), tmp_path / "a.pt"))
    assert same["relative_change",].value == 0
    assert same["changed_share",].value == 0
    assert same["cosine",].value == pytest.approx(1)
    assert {item.value for key, item in same.items() if key[0] == "module_share_of_change"} == {None}
    assert not [key for key in same if "rank" in key[0]]
    zeros = {"w.weight": torch.zeros(4, 4), "v.weight": torch.ones(4, 4)}
    got = numbers(found(written(tmp_path / "z.pt", zeros), written(tmp_path / "o.pt", moved(zeros))))
    assert (got["module_relative_change", "w"].value, got["module_cosine", "w"].value) == (None, None)
    assert got["module_relative_change", "w"].note
    assert got["relative_change",].value is not None


def test_weights_that_are_no_numbers_leave_the_total_undefined(tmp_path: Path) -> None:
    a = decoder()
    b = moved(a)
    b["lm_head.weight"][3, 5] = math.nan
    got = found(written(tmp_path / "a.safetensors", a), written(tmp_path / "b.safetensors", b))
    values = numbers(got)
    assert values["not_finite",].value == 1
    for key in ("relative_change", "distance", "cosine"):
        assert values[key,].value is None
        assert values[key,].flags == ("diverged",)
        assert "lm_head.weight" in values[key,].note
    assert values["module_relative_change", "lm_head"].value is None
    assert values["module_relative_change", "model.embed_tokens"].value is not None


def test_batch_norm_drifts_apart_from_the_weights(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    after = dict(state) | {"1.running_mean": torch.full((4,), 2.0), "1.running_var": torch.full((4,), math.e**2)}
    after["1.num_batches_tracked"] = torch.tensor(9)
    got = numbers(compare_weights(StoredTensors(state), StoredTensors(after)))
    assert got["relative_change",].value == 0
    assert got["module_batch_norm_mean_drift", "1"].value == pytest.approx(2, rel=1e-4)
    assert got["batch_norm_scale_drift",].value == pytest.approx(1, rel=1e-4)
    after["1.running_var"] = torch.full((4,), -1.0)
    broken = numbers(compare_weights(StoredTensors(state), StoredTensors(after)))
    assert broken["batch_norm_mean_drift",].value is None
    assert broken["batch_norm_mean_drift",].flags == ("diverged",)
    assert numbers(compare_weights(StoredTensors({"w": torch.ones(2)}), StoredTensors({"w": torch.ones(2)})))[
        "batch_norm_mean_drift",
    ].note


def test_the_place_in_a_file_may_be_named(tmp_path: Path) -> None:
    a, average = decoder(), decoder(seed=5)
    path = tmp_path / "both.pt"
    torch.save({"model": a, "model_ema": average}, path)
    torch.save(average, other := tmp_path / "average.pt")
    for which, same in (("ema", True), ("model_ema", True), ("raw", False), (None, False)):
        assert (numbers(found(path, other, (which, None)))["distance",].value == 0) == same
    with pytest.raises(WeightsError, match="model, model_ema"):
        found(path, other, ("teacher", None))
    with pytest.raises(WeightsError, match="leave --which out"):
        found(written(tmp_path / "a.safetensors", a), other, ("ema", None))


@pytest.mark.parametrize("end", [".safetensors", ".pt"])
def test_a_file_is_opened_anew_before_much_of_it_is_mapped(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = decoder()
    path = written(tmp_path / f"a{end}", a)
    monkeypatch.setattr(stored_tensors, "_MAPPED", 1)
    tensors = StoredTensors(path)
    for name, value in a.items():
        assert torch.equal(torch.cat([piece.clone() for piece in tensors.pieces(name, 7)]), value.reshape(-1))


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("run",))

    torch.save({"w": torch.ones(2), "x": Hostile()}, path := tmp_path / "hostile.pt")
    with pytest.raises(WeightsError, match="was not opened"):
        found(path, path)


MEMORY = """
    import sys
    from pathlib import Path
    from transferscope.files.compare_weights import compare_weight_files
    from transferscope.specs.architecture import FileWeights
    import torch, scipy.stats

    def memory(word):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(word)) / 1024

    def compare(word):
        compare_weight_files(*(FileWeights(path=f"{side}{word}{sys.argv[1]}") for side in "ab"))

    compare("small")  # what is loaded and made once
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    compare("large")
    print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize("end", [".safetensors", pytest.param(".pt", marks=pytest.mark.slow)])
def test_memory_is_bounded_by_the_largest_tensor(end: str, tmp_path: Path) -> None:
    """At most 1.5 times the largest tensor, and what pieces of 8 MB take whatever its size."""
    side, megabytes = 5000, 5000 * 5000 * 4 / 2**20
    for name, value in (("a", 1.0), ("b", 2.0)):
        state = {f"{at}.weight": torch.full((side, side), value + at) for at in range(2)}
        for at, tensor in enumerate(state.values()):
            tensor[:: 7 + at, ::5] *= value  # of a change of few directions
        written(tmp_path / f"{name}large{end}", state)
        written(tmp_path / f"{name}small{end}", {n: v[:600, :600] for n, v in state.items()})
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), end], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # Two whole tensors more would be 190 MB above; pages of the libraries that are mapped meanwhile are tens of them.
    assert float(done.stdout) < 1.5 * megabytes + 192, "four tensors of that size lie in the files"
