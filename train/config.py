"""The config of a training run: YAML from ``configs/``, any field overridden by its dotted name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from jaxsep.augment import AugmentConfig
from jaxsep.config import from_dict
from jaxsep.errors import UserError
from jaxsep.system import SystemConfig
from jaxsep.training import LossConfig, OptimizerConfig, check_loss


@dataclass(frozen=True)
class DataConfig:
    """Which recordings, and how training excerpts are drawn from them."""

    recipe: Literal["stereo_pairs", "song_folders"] = "stereo_pairs"
    """``stereo_pairs``: each file holds one source a channel; ``song_folders``: each folder holds
    one file a source."""
    train: str = "$JAXSEP_DATA/mir1k/train"
    """Folder of the recordings to train on; environment variables are filled in."""
    valid: str = "$JAXSEP_DATA/mir1k/valid"
    """Folder of the recordings to choose by."""
    channels: tuple[str, ...] = ("accompaniment", "vocals")
    """For ``stereo_pairs``: the source in each channel."""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For ``song_folders``: patterns of the files that sum to each source."""
    seconds: float = 4.0
    """Length of a training excerpt."""
    remix: float = 0.5
    """Share of the examples whose sources come from different recordings."""
    circular: bool = True
    """Read each source of a recording from a start of its own, wrapping round its end."""
    cache: str = "~/.cache/jaxsep"
    """Folder of the decoded recordings."""
    threads: int = 2
    """Threads that read ahead; the order of the examples does not depend on them."""

    def __post_init__(self):
        if not 0 <= self.remix <= 1:
            raise ValueError(f"remix={self.remix}: expected 0 to 1")
        if not 0 < self.seconds <= 600:
            raise ValueError(f"seconds={self.seconds}: expected more than 0 and at most 600")
        if self.threads < 0:
            raise ValueError(f"threads={self.threads}: expected 0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    system: SystemConfig = field(default_factory=SystemConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    out: str = "runs/default"
    """The run folder."""
    steps: int = 1000
    """Training steps in all."""
    batch_size: int = 16
    """Examples of a step, over all devices and hosts."""
    seed: int = 0
    ema_decay: float = 0.0
    """Decay of the moving average of the parameters; 0 for none."""
    init_from: str = ""
    """A shipped model's name or a model's or run's folder to start from: fine-tuning."""
    log_every: int = 20
    valid_every: int = 500
    save_every: int = 200
    keep: int = 2
    """Checkpoints to keep."""
    examples: int = 2
    """Validation recordings whose audio and spectrograms go to TensorBoard."""
    max_bad_steps: int = 10
    """Stop after this many steps in a row whose loss or gradient was not finite."""
    allow_changes: bool = False
    """Resume a run although its config or its recordings are others now."""

    def __post_init__(self):
        least = {"steps": 1, "batch_size": 1, "log_every": 1, "valid_every": 1, "save_every": 1, "keep": 2}
        for name, value in {**least, "seed": 0, "max_bad_steps": 1}.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least {value}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay}: expected 0 or more and less than 1")
        check_loss(self.loss, self.system)


def load_config(path: str, overrides: list[str]) -> TrainConfig:
    """Read a YAML config and the command line's overrides; unknown keys are errors."""
    import tyro

    try:
        values = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); see configs/ for those there are"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not plain YAML ({' '.join(str(error).split())[:200]})") from error
    try:
        config = from_dict(TrainConfig, values, "config")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error
    return tyro.cli(
        TrainConfig,
        args=overrides,
        default=config,
        prog=f"python -m train {path}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def data_folder(pattern: str, option: str) -> Path:
    """Fill in environment variables; say what is missing and what to do about it."""
    path = Path(os.path.expandvars(pattern)).expanduser()
    if "$" in str(path):
        name = str(path).split("$")[1].split("/")[0].strip("{}")
        raise UserError(
            f"{option}={pattern}: the environment variable {name} is not set; "
            f"set it to the folder of your recordings, or give --{option} FOLDER"
        )
    if not path.is_dir():
        raise UserError(f"{option}={path}: there is no such folder; give --{option} FOLDER")
    return path


#: Fields that may differ between a run and its continuation.
_FREE = {"out", "log_every", "valid_every", "save_every", "keep", "examples", "max_bad_steps"}
_FREE |= {"allow_changes", "data.cache", "data.threads", "data.valid", "data.train"}


def changed_fields(before: dict, now: dict, where: str = "") -> list[str]:
    """Return ``field: old -> new`` for what differs and matters to a resumed run.

    Example:
      >>> changed_fields({"seed": 1, "keep": 2}, {"seed": 2, "keep": 9})
      ['seed: 1 -> 2']
    """
    changes = []
    for key in sorted(before.keys() | now.keys()):
        name, old, new = where + key, before.get(key), now.get(key)
        if name in _FREE or old == new:
            continue
        if name == "steps" and now["optimizer"]["schedule"] == "constant":
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changes += changed_fields(old, new, f"{name}.")
        else:
            changes.append(f"{name}: {old} -> {new}")
    return changes
