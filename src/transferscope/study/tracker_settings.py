"""Where else a study is written down as it goes: MLflow, TensorBoard, Weights & Biases."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from transferscope.frozen import Frozen

__all__ = ["Mlflow", "TensorBoard", "TrackerSettings", "Wandb"]


class Mlflow(Frozen):
    """MLflow, its server or a local store; needs the extra ``mlflow``.

    Attributes:
        uri: of a server or store, as MLflow writes it; None takes ``folder``, else ``MLFLOW_TRACKING_URI``. User and
            password are no part of it: MLflow reads ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``.
        folder: of a local store; where neither it nor an address is given: ``mlflow`` in the store of results.
        experiment: the experiment that takes the runs; made where there is none.
    """

    kind: Literal["mlflow"] = "mlflow"
    uri: str | None = None
    folder: str | None = None
    experiment: str = "transferscope"

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.uri is not None and self.folder is not None:
            raise ValueError("give either uri or folder: a folder is the place of a local store")
        if self.uri is not None and urlsplit(self.uri).password is not None:
            # The study is written into reports, which people pass on.
            raise ValueError(
                "uri holds a password, which would stand in every report: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or the whole address as MLFLOW_TRACKING_URI, in the environment"
            )
        return self


class TensorBoard(Frozen):
    """Event files for TensorBoard; needs the extra ``tensorboard``.

    Attributes:
        folder: for ``tensorboard --logdir``; None takes ``tensorboard`` in the store of results.
    """

    kind: Literal["tensorboard"] = "tensorboard"
    folder: str | None = None


class Wandb(Frozen):
    """Weights & Biases; needs the extra ``wandb``. Its key is read by ``wandb`` itself (``wandb login``).

    Attributes:
        project: of the runs.
        entity: user or team; None takes the default one of the account.
        folder: for local files; None takes ``wandb`` in the store of results.
        mode: ``offline`` writes files that ``wandb sync`` sends later.
    """

    kind: Literal["wandb"] = "wandb"
    project: str = "transferscope"
    entity: str | None = None
    folder: str | None = None
    mode: Literal["online", "offline"] = "online"


TrackerSettings = Annotated[Mlflow | TensorBoard | Wandb, Field(discriminator="kind")]
"""One tracker of a study."""
