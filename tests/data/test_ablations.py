import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.data.making import random_set
from tests.reference.ablation_reference import (
    filtered_one,
    grey_one,
    moved_in_blocks,
    scrambled_one,
    shuffled_one,
)
from transferscope.data.ablation_settings import (
    Ablation,
    BlockShuffle,
    Grayscale,
    HighPass,
    LowPass,
    PhaseScramble,
    check_study,
    divisors,
    is_identity,
    seeded,
    words,
)
from transferscope.data.ablations import ablate, operator_of, phase_field, shuffle_index, unshuffle
from transferscope.data.batches import evaluation_batches, training_batches
from transferscope.data.images import ImageSet
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import Augmentation, DataSpec
from transferscope.errors import DataError
from transferscope.specs.network import NetworkSpec, Random
from transferscope.specs.recipe import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY: list[Ablation] = [
    BlockShuffle(block=4, seed=3),
    BlockShuffle(block=1, seed=3),
    BlockShuffle(block="*", seed=3),
    PhaseScramble(seed=3),
    LowPass(cutoff=2.5),
    HighPass(cutoff=2.5),
    Grayscale(),
]
FORMATS = [torch.contiguous_format, torch.channels_last]

shuffles = st.sampled_from((6, 8, 12)).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.builds(BlockShuffle, block=st.sampled_from((*divisors(size), "*")), seed=st.integers(0, 2**40)),
    )
)


def random_images(size: int, count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32))


def name_of(ablation: Ablation) -> str:
    return words(ablation, 12)


# -- shuffles ----------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=40)
@given(shuffles)
def test_a_shuffle_is_a_bijection_with_an_inverse(drawn: tuple[int, BlockShuffle]) -> None:
    size, shuffle = drawn
    index = shuffle_index(shuffle, size)
    assert sorted(index.tolist()) == list(range(len(index)))
    assert len(index) == (3 if shuffle.block == "*" else 1) * size**2
    images = random_images(size)
    for layout in FORMATS:
        given_images = images.contiguous(memory_format=layout)
        assert torch.equal(unshuffle(ablate(given_images, shuffle, MEAN, STD), shuffle), images)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(shuffles)
def test_a_shuffle_keeps_the_multiset_of_pixel_vectors(drawn: tuple[int, BlockShuffle]) -> None:
    size, shuffle = drawn
    images = random_images(size)
    found = ablate(images, shuffle, MEAN, STD)
    if shuffle.block == "*":
        assert torch.equal(found.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
        return

    def vectors(batch: torch.Tensor) -> list[list[tuple[float, ...]]]:
        return [sorted(map(tuple, image.flatten(1).T.tolist())) for image in batch]

    assert vectors(found) == vectors(images)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(shuffles, st.sampled_from(FORMATS))
def test_a_shuffle_is_that_of_the_literal_reference(
    drawn: tuple[int, BlockShuffle], layout: torch.memory_format
) -> None:
    size, shuffle = drawn
    images = random_images(size)
    index = shuffle_index(shuffle, size)
    if shuffle.block != "*":
        assert moved_in_blocks(index, size, shuffle.block)
    found = ablate(images.contiguous(memory_format=layout), shuffle, MEAN, STD)
    for image, changed in zip(images, found, strict=True):
        assert np.array_equal(changed.numpy(), shuffled_one(image.numpy(), index, shuffle.block))


def test_a_block_as_large_as_the_image_is_the_identity() -> None:
    images = random_images(8)
    whole = BlockShuffle(block=8, seed=5)
    assert is_identity(whole, 8)
    assert torch.equal(ablate(images, whole, MEAN, STD), images)


@pytest.mark.parametrize("block", [1, 2, 4, "*"])
def test_no_seed_gives_the_identity_but_seeds_differ(block: int | str) -> None:
    size = 8
    found = {tuple(shuffle_index(BlockShuffle(block=block, seed=seed), size)) for seed in range(60)}
    assert tuple(range(len(next(iter(found))))) not in found
    # Four blocks have 23 orders besides the identity.
    assert len(found) > (15 if block == 4 else 55)


def test_all_orders_of_four_blocks_are_drawn_alike() -> None:
    draws = 2400
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(draws):
        order = tuple(shuffle_index(BlockShuffle(block=1, seed=seed), 2))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 23
    expected = draws / 23
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 48.3  # χ²(22), 0.1 %


# -- in frequency ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("layout", FORMATS)
def test_frequency_ablations_are_those_of_the_literal_reference(size: int, layout: torch.memory_format) -> None:
    images = random_images(size).contiguous(memory_format=layout)
    phase = phase_field(PhaseScramble(seed=2), size)
    low, high, scrambled = (
        ablate(images, item, MEAN, STD) for item in (LowPass(cutoff=2.0), HighPass(cutoff=2.0), PhaseScramble(seed=2))
    )
    for n in range(len(images)):
        for c in range(3):
            image = images[n, c].double().numpy()
            expected = scrambled_one(image, phase)
            assert np.abs(expected.imag).max() < 1e-12
            assert np.abs(scrambled[n, c].numpy() - expected.real).max() < 1e-5
            assert np.abs(low[n, c].numpy() - filtered_one(image, 2.0, low=True).real).max() < 1e-5
            assert np.abs(high[n, c].numpy() - filtered_one(image, 2.0, low=False).real).max() < 1e-5


@pytest.mark.parametrize("size", [12, 15])
def test_phase_scramble_keeps_amplitudes_and_mean_and_is_shared(size: int) -> None:
    images = random_images(size, 3)
    found = ablate(images, PhaseScramble(seed=1), MEAN, STD)
    before, after = (torch.fft.fft2(batch.double()) for batch in (images, found))
    assert (before.abs() - after.abs()).abs().max() < 1e-4
    assert (found.mean((2, 3)) - images.mean((2, 3))).abs().max() < 1e-6
    assert (found - images).abs().mean() > 0.5
    turned = after / before
    assert (turned - turned[:1, :1]).abs().max() < 1e-3  # one field for all images and channels
    alike = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    same = ablate(alike, PhaseScramble(seed=1), MEAN, STD)
    assert torch.equal(same[:, 0], same[:, 1])
    assert torch.equal(same[:, 0], same[:, 2])


@pytest.mark.parametrize("size", [8, 9])
def test_the_phase_field_is_antisymmetric_and_uniform(size: int) -> None:
    for seed in range(3):
        field = phase_field(PhaseScramble(seed=seed), size)
        opposite = -np.arange(size) % size
        assert np.array_equal(field, -field[np.ix_(opposite, opposite)])
        own = [(y, x) for y in range(size) for x in range(size) if -y % size == y and -x % size == x]
        assert all(field[place] == 0 for place in own)
        assert len(own) == (4 if size % 2 == 0 else 1)
    turns = np.concatenate([phase_field(PhaseScramble(seed=seed), 16).ravel() for seed in range(40)]) / (2 * np.pi) % 1
    counts = np.histogram(turns[turns > 0], 10, (0, 1))[0]
    assert counts.min() > 0.9 * counts.mean()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.sampled_from((6, 9, 12)), st.floats(0.2, 4.0))
def test_low_pass_and_high_pass_add_up_to_the_image(size: int, cutoff: float) -> None:
    images = random_images(size)
    low, high = (ablate(images, kind(cutoff=cutoff), MEAN, STD) for kind in (LowPass, HighPass))
    assert (low + high - images).abs().max() < 1e-5
    again = ablate(low, LowPass(cutoff=cutoff), MEAN, STD)
    assert (again - low).abs().max() < 1e-5
    assert high.mean((2, 3)).abs().max() < 1e-6


def test_the_cutoff_is_in_cycles_per_image_and_kept_by_low_pass() -> None:
    places = torch.arange(16) / 16
    wave = torch.cos(2 * np.pi * 3 * places).expand(1, 3, 16, 16).contiguous()
    assert (ablate(wave, LowPass(cutoff=3.0), MEAN, STD) - wave).abs().max() < 1e-5
    assert ablate(wave, LowPass(cutoff=2.9), MEAN, STD).abs().max() < 1e-5


# -- colour ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", FORMATS)
def test_grayscale_is_the_luma_of_pixels_before_normalisation(layout: torch.memory_format) -> None:
    images = random_images(5)
    found = ablate(images.contiguous(memory_format=layout), Grayscale(), MEAN, STD)
    for image, grey in zip(images, found, strict=True):
        assert np.abs(grey.numpy() - grey_one(image.numpy(), MEAN, STD)).max() < 1e-5
    pixels = found.double() * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert (pixels - pixels[:, :1]).abs().max() < 1e-6


# -- the same everywhere -----------------------------------------------------------------------------

GOLDEN = {
    "blocks of 4": "b5905e503e61ac9f",
    "single pixels": "6dfc9d73b7134192",
    "all values": "f55ac9ef64d713cd",
    "phase": "8d2b3b7dbfa9435d",
}
SCRIPT = """
import hashlib, json
from transferscope.data.ablation_settings import BlockShuffle, PhaseScramble
from transferscope.data.ablations import phase_field, shuffle_index
found = {
    "blocks of 4": shuffle_index(BlockShuffle(block=4, seed=3), 32),
    "single pixels": shuffle_index(BlockShuffle(block=1, seed=3), 32),
    "all values": shuffle_index(BlockShuffle(block="*", seed=3), 32),
    "phase": phase_field(PhaseScramble(seed=3), 32),
}
print(json.dumps({name: hashlib.sha256(array.tobytes()).hexdigest()[:16] for name, array in found.items()}))
"""


def test_seeds_mean_the_same_in_every_process() -> None:
    # A hash seed of its own shows that nothing hangs on Python's hashes.
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert json.loads(run.stdout) == GOLDEN


@pytest.mark.parametrize("ablation", EVERY, ids=name_of)
@pytest.mark.parametrize("layout", FORMATS)
def test_memory_format_is_kept_and_changes_nothing(ablation: Ablation, layout: torch.memory_format) -> None:
    images = random_images(12)
    given_images = images.contiguous(memory_format=layout)
    found = ablate(given_images, ablation, MEAN, STD)
    assert found.is_contiguous(memory_format=layout)
    assert found.dtype == torch.float32
    assert torch.equal(found, ablate(images, ablation, MEAN, STD))
    assert torch.equal(given_images, images)  # the caller's are left alone


@pytest.mark.parametrize("ablation", EVERY, ids=name_of)
def test_a_batch_is_as_its_images(ablation: Ablation) -> None:
    images = random_images(12, 5)
    operator = operator_of(ablation, 12, MEAN, STD)
    found = operator(images)
    for n in range(5):
        assert (found[n : n + 1] - operator(images[n : n + 1])).abs().max() < 1e-5


@pytest.mark.parametrize("ablation", EVERY, ids=name_of)
@pytest.mark.parametrize("device", ["meta", "cuda", "mps"])
def test_every_device(ablation: Ablation, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no cuda here")
    if device == "mps" and not torch.backends.mps.is_available():
        pytest.skip("no mps here")
    images = random_images(12)
    found = ablate(images.to(device), ablation, MEAN, STD)
    assert found.shape == images.shape
    assert found.device.type == device
    if device != "meta":
        assert (found.cpu() - ablate(images, ablation, MEAN, STD)).abs().max() < 1e-5


# -- settings ----------------------------------------------------------------------------------------


def test_one_kind_of_setting_for_each_ablation() -> None:
    parser: TypeAdapter[Ablation] = TypeAdapter(Ablation)
    for item in EVERY:
        assert parser.validate_json(item.model_dump_json()) == item
    assert seeded(BlockShuffle(block=2), 9) == BlockShuffle(block=2, seed=9)
    assert seeded(Grayscale(), 9) == Grayscale()
    assert [name_of(item) for item in EVERY] == [
        "blocks of 4", "single pixels", "all values", "phase scramble", "low-pass 2.5", "high-pass 2.5", "grayscale",
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        BlockShuffle(block=0)


def data(**more: object) -> DataSpec:
    return DataSpec(**{"source": Arrays(images="x.npy"), "fingerprint": "0" * 64, "image_size": 12, **more})


def test_a_block_that_does_not_fit_names_those_that_do() -> None:
    with pytest.raises(ValidationError, match=r"does not divide the image size 12: give one of 1, 2, 3, 4, 6, 12, or"):
        data(ablation=BlockShuffle(block=5))
    with pytest.raises(ValueError, match="does not divide the image size 12"):
        data().ablated(BlockShuffle(block=24))
    with pytest.raises(DataError, match="does not divide the image size 12"):
        shuffle_index(BlockShuffle(block=7), 12)
    assert check_study(BlockShuffle(block=6), 12) is None


def test_a_cutoff_that_leaves_all_or_nothing_is_named() -> None:
    with pytest.raises(ValidationError, match=r"give one below 8.485, its highest frequency"):
        data(ablation=HighPass(cutoff=9))
    with pytest.raises(DataError, match="leaves all or nothing"):
        ablate(random_images(12), LowPass(cutoff=20), MEAN, STD)
    assert check_study(LowPass(cutoff=8.4), 12) is None


def test_images_must_be_square_with_three_channels() -> None:
    for shape in ((2, 3, 4, 6), (2, 1, 4, 4), (3, 4, 4)):
        with pytest.raises(DataError, match="square images of three channels"):
            ablate(torch.zeros(shape), Grayscale(), MEAN, STD)
    with pytest.raises(DataError, match="square images of three channels"):
        unshuffle(torch.zeros(1, 3, 4, 6), BlockShuffle(block=2))


def test_keys_without_an_ablation_are_those_of_before() -> None:
    # Of the specs before there were ablations: trained networks in people's stores keep their keys.
    assert data().key == "8e86f0c67c2c18f813644022cb5343f2"
    recipe = Recipe(learning_rate=0.1, epochs=2)
    network = NetworkSpec(architecture="timm:resnet18", classes=3, start=Random(), data=data(), recipe=recipe)
    assert network.identity()["data"] == data().identity()
    assert "ablation" not in data().identity()
    assert data().ablated(None).key == data().key
    assert data().ablated(BlockShuffle(block=12, seed=4)).key == data().key


def test_keys_of_ablations_differ() -> None:
    asked = [*EVERY, BlockShuffle(block=4, seed=4), PhaseScramble(seed=4), LowPass(cutoff=3)]
    keys = {data(ablation=item).key for item in asked}
    assert len(keys | {data().key}) == len(asked) + 1
    assert data(ablation=EVERY[0]).ablated(None).key == data().key


# -- in batches --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return random_set(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("ablation", [BlockShuffle(block=1, seed=2), PhaseScramble(seed=2), Grayscale()], ids=name_of)
def test_batches_are_ablated_after_normalisation(images: ImageSet, ablation: Ablation, memory_format: str) -> None:
    plain = torch.cat([x for x, _ in evaluation_batches(images, range(20), MEAN, STD, 6, "cpu", memory_format)])
    found = list(evaluation_batches(images, range(20), MEAN, STD, 6, "cpu", memory_format, ablation=ablation))
    assert torch.allclose(torch.cat([x for x, _ in found]), ablate(plain, ablation, MEAN, STD), atol=1e-6)
    assert torch.cat([y for _, y in found]).tolist() == images.labels[:20].tolist()


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(flip=False, crop_padding=0)])
def test_training_batches_are_ablated_last(images: ImageSet, augmentation: Augmentation) -> None:
    recipe = Recipe(learning_rate=0.1, epochs=1, batch_size=8, augmentation=augmentation)
    shuffle = BlockShuffle(block=2, seed=1)
    plain = list(training_batches(images, range(20), MEAN, STD, recipe, 3, 1))
    found = list(training_batches(images, range(20), MEAN, STD, recipe, 3, 1, ablation=shuffle))
    for (x, y), (changed, same) in zip(plain, found, strict=True):
        assert torch.equal(y, same)
        assert torch.equal(changed, ablate(x, shuffle, MEAN, STD))


def test_batches_refuse_an_ablation_that_does_not_fit(images: ImageSet) -> None:
    wrong = BlockShuffle(block=images.image_size - 1)
    with pytest.raises(DataError, match="does not divide the image size"):
        evaluation_batches(images, range(4), MEAN, STD, ablation=wrong)
    with pytest.raises(DataError, match="does not divide the image size"):
        training_batches(images, range(4), MEAN, STD, Recipe(learning_rate=0.1, epochs=1), 0, 1, ablation=wrong)


def test_golden_hashes_are_of_the_numbers() -> None:
    # The hash of the numbers, as it is computed in the other process.
    here = hashlib.sha256(shuffle_index(BlockShuffle(block=4, seed=3), 32).tobytes()).hexdigest()[:16]
    assert here == GOLDEN["blocks of 4"]
