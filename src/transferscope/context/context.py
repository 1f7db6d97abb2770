"""The only door to weights, data and randomness for an analysis."""

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from safetensors.torch import load, save_file
from torch import nn

from transferscope.context.initial_networks import diverged_before, loaded, no_best, start
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.data.ablation_settings import Ablation
from transferscope.data.batches import EvaluationBatches
from transferscope.data.images import ImageSet
from transferscope.data.permuted_labels import permute_labels
from transferscope.data.spec import DataSpec, Split
from transferscope.data.splits import make_splits, nested_subset, training_part
from transferscope.data.store import open_images
from transferscope.data.stratified_shuffle import stratified_shuffle
from transferscope.errors import DataError, MissingEntryError
from transferscope.frozen import content_key, derive_seed
from transferscope.networks.architectures import build
from transferscope.networks.evaluate import logits, resolve_device
from transferscope.networks.features import Features, pooled_features
from transferscope.networks.heads import head_name
from transferscope.networks.modules import Granularity
from transferscope.networks.weights import LoadReport
from transferscope.specs.network import NetworkSpec
from transferscope.store import Entry, Store

Writing = AbstractContextManager[Path]


class Outputs(NamedTuple):
    """What a network says about every example of a split.

    Attributes:
        labels: int64 ``examples``, or uint8 ``examples labels``.
    """

    logits: torch.Tensor
    labels: torch.Tensor


class Context:
    """Gives networks, images and artefacts by their settings; computes an artefact once and stores it.

    Args:
        store: where everything lies.
        study: what is asked for.
    """

    def __init__(self, store: Store, study: ResolvedStudy) -> None:
        self.store = store
        self.study = study
        self.device = resolve_device(study.settings.compute.device)
        self.memory_format: Literal["contiguous", "channels_last"] = study.memory_format
        self._images: dict[str, ImageSet] = {}
        self._splits: dict[str, dict[Split, np.ndarray]] = {}

    # -- data ---------------------------------------------------------------------------------------

    def images(self, data: DataSpec | None = None) -> ImageSet:
        """The decoded images of a data set (the target's where None), opened once per process.

        Raises:
            DataError: they are not those the study was planned with.
        """
        data = data or self.study.data
        if data.fingerprint not in self._images:
            target = self.study.settings.target
            images = open_images(
                data.source,
                data.image_size,
                self.store.root / "images",
                on_unreadable=target.on_unreadable,
                decoding=target,
            )
            if images.fingerprint != data.fingerprint:
                raise DataError(
                    f"the images of {data.source.kind!r} changed since the study was started",
                    expected=f"fingerprint {data.fingerprint[:12]}",
                    got=images.fingerprint[:12],
                    hint="start the run again: networks trained on the old images keep their own keys",
                )
            self._images[data.fingerprint] = images
        return self._images[data.fingerprint]

    def training_images(self, data: DataSpec) -> ImageSet:
        """The images of a data set with the labels that networks are trained on; see :attr:`DataSpec.labels`.

        Raises:
            DataError: as of :meth:`images`.
        """
        images = self.images(data)
        if data.labels == "given":
            return images
        # All training images take part, so that a part of them has the labels that it has within the whole.
        whole = self.splits(data.model_copy(update={"fraction": 1.0}))["train"]
        return permute_labels(images, whole, data.splits.seed)

    def storing(self, entry: Entry, facts: Mapping[str, Any], provenance: Mapping[str, Any] | None = None) -> Writing:
        """As :meth:`Entry.write`; an error where somebody wrote to the decoded images since they were opened."""
        for images in self._images.values():
            images.check()
        return entry.write(facts, provenance)

    def splits(self, data: DataSpec | None = None) -> dict[Split, np.ndarray]:
        """Indices of each split; the training split is the part that the data set asks for."""
        # An ablation takes something from images; it moves none to another split.
        data = (data or self.study.data).ablated(None)
        key = data.key
        if key not in self._splits:
            images = self.images(data)
            splits = dict(make_splits(images, data.splits))
            splits["train"] = training_part(images, splits["train"], data)
            self._splits[key] = splits
        return dict(self._splits[key])

    def indices(self, split: Split, limit: int | None = None) -> np.ndarray:
        """Indices of the target's examples of a split; with ``limit`` a fixed stratified subset of about that size."""
        indices = self.splits()[split]
        if limit is None or limit >= len(indices):
            return indices
        seed = derive_seed(self.study.data.splits.seed, "subset", split)
        return nested_subset(self.images().labels, indices, limit / len(indices), seed)

    def data_of(self, spec: NetworkSpec) -> DataSpec:
        """The target's examples as a network knows them: with the ablation of the images it was trained on.

        A network trained on the target's images at another size or otherwise normalised (a candidate) sees them so.
        """
        own, known = self.study.data, spec.data
        if known is None:
            return own
        if known.source == own.source and known.splits == own.splits:
            prepared = ("fingerprint", "image_size", "mean", "std")
            own = own.model_copy(update={name: getattr(known, name) for name in prepared})
        return own.ablated(known.ablation)

    def batches(
        self,
        split: Split,
        limit: int | None = None,
        batch_size: int | None = None,
        *,
        ablation: Ablation | None = None,
        data: DataSpec | None = None,
    ) -> EvaluationBatches:
        """The target's images under the evaluation transform, in a fixed order, on the device.

        Args:
            split: which.
            limit: a fixed stratified subset of about so many; None for all.
            batch_size: None for the study's.
            ablation: what is taken from every image; for a network trained on ablated ones that of :meth:`data_of`.
            data: the same images as a network knows them, see :meth:`data_of`; the study's where None.
        """
        data = data or self.study.data
        return EvaluationBatches(
            self.images(data),
            self.indices(split, limit),
            data.mean,
            data.std,
            batch_size or self.study.settings.compute.evaluation_batch,
            self.device,
            self.memory_format,
            ablation=ablation,
        )

    def mixed_batches(
        self, split: Split, limit: int | None = None, batch_size: int | None = None, *, ablation: Ablation | None = None
    ) -> EvaluationBatches:
        """As :meth:`batches`, the same images in a fixed mixed order: for batch-norm statistics and minibatch CKA.

        A last batch of a single image is left out: it has no variance.
        """
        data = self.study.data
        size = batch_size or self.study.settings.compute.evaluation_batch
        seed = derive_seed(data.splits.seed, "subset", split)
        indices = stratified_shuffle(self.images().labels, self.splits()[split], seed, limit)
        if len(indices) % size == 1:
            indices = indices[:-1]
        return EvaluationBatches(
            self.images(), indices, data.mean, data.std, size, self.device, self.memory_format, ablation=ablation
        )

    def sample(self, data: DataSpec, split: Split | None, limit: int) -> tuple[EvaluationBatches, np.ndarray]:
        """Some images of any data set, under the evaluation transform, in a fixed mixed order; and their indices.

        Args:
            data: the target's, or one of the study's references.
            split: which; None for images of all splits.
            limit: about so many, stratified.
        """
        images = self.images(data)
        pool = np.arange(len(images)) if split is None else self.splits(data)[split]
        indices = stratified_shuffle(images.labels, pool, derive_seed(data.splits.seed, "sample", split), limit)
        size = self.study.settings.compute.evaluation_batch
        batches = EvaluationBatches(images, indices, data.mean, data.std, size, self.device, self.memory_format)
        return batches, indices

    def labels(self, split: Split, limit: int | None = None) -> torch.Tensor:
        """Labels in the order of :meth:`batches`."""
        return torch.as_tensor(np.asarray(self.images().labels)[self.indices(split, limit)])

    # -- networks -----------------------------------------------------------------------------------

    def network(self, spec: NetworkSpec, epoch: int | Literal["last", "best"] = "last") -> nn.Module:
        """A fresh network in evaluation mode on the device, in the study's memory format.

        Args:
            spec: the network.
            epoch: which of its kept epochs; see :meth:`state`.

        Raises:
            MissingEntryError: it must be trained first, or that epoch was not kept.
            WeightsError: its file is not the one the study was planned with, or it diverged before that epoch.
        """
        if spec.trained and epoch != 0:
            # Its start is overwritten, so it need not be read.
            model = build(spec.architecture, spec.classes, spec.seed)
            model.load_state_dict(self.state(spec, epoch))
        else:
            model = self.start(spec)
        layout = torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format
        model = model.to(self.device).to(memory_format=layout)
        return model.eval()

    def start(self, spec: NetworkSpec) -> nn.Module:
        """The network before its training, on the CPU.

        Raises:
            StoreError: the network it starts from is not trained yet, or its epoch was not kept.
            WeightsError: its file is not the one the study was planned with, or the network it starts from diverged
                before the epoch that is asked for.
            DataError: batch norm's statistics are to be estimated, and there are no images for it.
        """
        return start(spec, self)

    def loaded(self, spec: NetworkSpec) -> LoadReport | None:
        """Which tensors of the given weights went into a network; None where it starts from no file."""
        return loaded(spec, self)

    def state(self, spec: NetworkSpec, epoch: int | Literal["last", "best"] = "last") -> dict[str, torch.Tensor]:
        """Parameters and buffers by name, on the CPU.

        Args:
            spec: the network.
            epoch: which of its kept epochs; 0 is its start. Of a network that diverged, ``last`` is the last epoch with
                finite weights.

        Raises:
            MissingEntryError: it is not trained yet, or that epoch was not kept.
            WeightsError: it diverged before that epoch, or has no best one.
        """
        if not spec.trained or epoch == 0:
            return {name: tensor.clone() for name, tensor in self.start(spec).state_dict().items()}
        entry = self._trained(spec)
        facts = entry.manifest()
        if epoch == "best":
            if facts["best_epoch"] is None:
                raise diverged_before(spec, "best") if facts["diverged"] else no_best(spec)
            epoch = int(facts["best_epoch"])
        file = "weights.safetensors"
        if epoch != "last" and epoch != facts["weights_epoch"]:
            file = f"epoch-{epoch:04d}.safetensors"
            if file not in facts["files"]:
                if facts["diverged"] and epoch > facts["weights_epoch"]:
                    raise diverged_before(spec, epoch)
                kept = [name for name in sorted(facts["files"]) if name.startswith("epoch")]
                raise MissingEntryError(
                    f"epoch {epoch} of the network {spec.key} was not kept",
                    expected="one of " + ", ".join(["0", *(str(int(name[6:10])) for name in kept), "last"]),
                    got=str(epoch),
                    hint="set `keep` of its recipe to 'all' or to a list with that epoch",
                )
        return load(entry.read_bytes(file))

    def _trained(self, spec: NetworkSpec) -> Entry:
        entry = self.store.entry("networks", spec.key)
        if not entry.exists():
            raise MissingEntryError(
                f"the network {spec.key} is not in the store",
                hint="train it before it is measured: an analysis must name it in networks()",
            )
        return entry

    def history(self, spec: NetworkSpec) -> pl.DataFrame:
        """The training history: one row per epoch, from 0."""
        return pl.read_parquet(io.BytesIO(self._trained(spec).read_bytes("history.parquet")))

    def diverged(self, spec: NetworkSpec) -> bool:
        """Whether the training ended in an exploded or undefined loss."""
        return spec.trained and bool(self._trained(spec).manifest()["diverged"])

    def training_record(self, spec: NetworkSpec) -> Mapping[str, Any]:
        """What a training took and how it ran, which differs from run to run; empty where that is lost."""
        return self._trained(spec).provenance()

    # -- artefacts ----------------------------------------------------------------------------------

    def outputs(self, spec: NetworkSpec, split: Split, epoch: int | Literal["last", "best"] = "last") -> Outputs:
        """Per-example logits of a network on a split: computed once, stored, shared by all analyses.

        A network trained on ablated images sees the target's with the same ablation.

        Args:
            spec: the network.
            split: of the target.
            epoch: which of its kept epochs; see :meth:`state`; an untrained network has one only.

        Raises:
            MissingEntryError: it must be trained first, or that epoch was not kept.
            WeightsError: its file is not the one the study was planned with, or it diverged before that epoch.
        """
        data = self.data_of(spec)
        # The last epoch has no part in the key: by its number it is the same artefact.
        ended = spec.recipe is not None and epoch == spec.recipe.epochs
        last = not spec.trained or epoch == "last" or (ended and not self.diverged(spec))
        facts: dict[str, Any] = {"artefact": "logits", "network": spec.key, "split": split}
        facts |= {} if last else {"epoch": epoch}
        key = content_key(
            {
                **facts,
                "data": data.key,
                "memory_format": self.memory_format,
                "batch": self.study.settings.compute.evaluation_batch,
            }
        )
        entry = self.store.entry("artefacts", key)
        if not entry.exists():
            with self.store.lock(f"artefact-{key}"):
                # Another worker may have written it while this one waited for the lock.
                if not entry.exists():
                    values, labels = logits(
                        self.network(spec, "last" if last else epoch),
                        self.batches(split, ablation=data.ablation, data=data),
                        device=self.device,
                        memory_format=self.memory_format,
                    )
                    with self.storing(entry, facts) as folder:
                        tensors = {"logits": values.contiguous(), "labels": labels.contiguous()}
                        save_file(tensors, folder / "outputs.safetensors")
        stored = load(entry.read_bytes("outputs.safetensors"))
        return Outputs(stored["logits"], stored["labels"])

    def features(
        self,
        spec: NetworkSpec,
        split: Split,
        granularity: Granularity = "block",
        limit: int | None = None,
        parts: Sequence[str] | None = None,
    ) -> Features:
        """Pooled outputs of all parts of a network on a split, and its head's input: computed once, stored, shared.

        See :func:`~transferscope.networks.features.pooled_features`, in the order of :meth:`batches`.

        Args:
            spec: the network.
            split: of the target.
            granularity: of the parts.
            limit: see :meth:`indices`.
            parts: read these alone; None for all.

        Raises:
            MissingEntryError: it must be trained first.
            ActivationError: what enters its head cannot be pooled.
        """
        data = self.data_of(spec)
        facts = {"artefact": "features", "network": spec.key, "split": split, "granularity": granularity}
        key = content_key(
            {
                **facts,
                "limit": limit,
                "data": data.key,
                "memory_format": self.memory_format,
                "batch": self.study.settings.compute.evaluation_batch,
            }
        )
        entry = self.store.entry("artefacts", key)
        if not entry.exists():
            with self.store.lock(f"artefact-{key}"):
                if not entry.exists():
                    model = self.network(spec)
                    found = pooled_features(
                        model,
                        self.batches(split, limit, ablation=data.ablation, data=data),
                        head_name(model, spec.architecture),
                        granularity=granularity,
                        device=self.device,
                        memory_format=self.memory_format,
                    )
                    order = {"parts": list(found.tables), "unusable": dict(found.unusable)}
                    with self.storing(entry, {**facts, **order}) as folder:
                        tables = {name: table.contiguous() for name, table in found.tables.items()}
                        save_file(tables, folder / "features.safetensors")
        known = entry.manifest()
        wanted = [name for name in known["parts"] if parts is None or name in parts]
        stored = load(entry.read_bytes("features.safetensors"))
        return Features({name: stored[name] for name in wanted}, known["unusable"])

    def seed(self, *purpose: object) -> int:
        """A seed derived from the data set's split seed and a purpose."""
        return derive_seed(self.study.data.splits.seed, *purpose)
