"""The config of a training run: YAML from ``configs/``, any field overridden by its dotted name."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from jaxsep.augment import AugmentConfig
from jaxsep.config import from_dict
from jaxsep.errors import UserError
from jaxsep.system import System, SystemConfig
from jaxsep.training import LossConfig, OptimizerConfig, check_loss
from train.generators import GENERATORS


@dataclass(frozen=True)
class MixingConfig:
    """How an example is overlaid of clips, one class a source (``data.recipe=class_folders``)."""

    gain_db: float = 5.0
    """Largest difference of a clip's level from -23 dBFS, up or down, dB."""
    overlay: dict[str, int] = field(default_factory=lambda: {"other": 2})
    """How many clips are overlaid to a source; one where it is not named."""
    absent: float = 0.0
    """Chance of each source to be left out of an example; one always stays."""
    max_silence: float = 0.3
    """Largest share of silence in a clip of an example; longer pauses are shortened."""
    free_silence: tuple[str, ...] = ("other",)
    """Sources whose clips may hold any share of silence."""
    low_pass: float = 0.0
    """Share of the clips that are low-passed, at 2.5 to 10 kHz."""
    speed_semitones: float = 0.0
    """Largest change of a clip's pitch and tempo, semitones."""
    equaliser_db: float = 0.0
    """Largest gain or loss of an octave of a clip, dB."""
    reverb: float = 0.0
    """Share of the clips that sound in a room, each another."""
    extra_share: float = 0.3
    """Share of a class's clips that come from ``data.extra``, where that has the class."""
    generated: dict[str, float] = field(default_factory=dict)
    """Share of a source's clips that are generated; there is a generator for ``siren``."""

    def __post_init__(self):
        shares = {"absent": self.absent, "max_silence": self.max_silence, "low_pass": self.low_pass}
        shares |= {"extra_share": self.extra_share, "reverb": self.reverb}
        shares |= {f"generated.{name}": share for name, share in self.generated.items()}
        for name in self.generated.keys() - GENERATORS.keys():
            raise ValueError(f"generated.{name}: expected {' or '.join(GENERATORS)}")
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}={share}: expected 0 to 1")
        if self.absent == 1 or self.max_silence == 1:
            raise ValueError(f"absent={self.absent}, max_silence={self.max_silence}: expected less than 1")
        most = {"gain_db": 60, "equaliser_db": 60, "speed_semitones": 12}
        for name, limit in most.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 to {limit}")
        if any(count < 1 for count in self.overlay.values()):
            raise ValueError(f"overlay={self.overlay}: expected at least 1 clip for each source")


@dataclass(frozen=True)
class DataConfig:
    """Which recordings, and how training excerpts are drawn from them."""

    recipe: Literal["stereo_pairs", "song_folders", "class_folders", "two_folders"] = "stereo_pairs"
    """``stereo_pairs``: each file holds one source a channel; ``song_folders``: each folder holds
    one file a source; ``class_folders``: each file holds one source, and examples overlay clips;
    ``two_folders``: the same of two folders of whole recordings, mixed pairwise as they are."""
    train: str = "$JAXSEP_DATA/mir1k/train"
    """Folder of the recordings to train on; environment variables are filled in. Where ``train``
    and ``valid`` are the same, recordings are split by the manifest, or 92 to 8."""
    valid: str = "$JAXSEP_DATA/mir1k/valid"
    """Folder of the recordings to choose by."""
    channels: tuple[str, ...] = ("accompaniment", "vocals")
    """For ``stereo_pairs``: the source in each channel."""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For ``song_folders``: patterns of the files that sum to each source; for ``class_folders`` and
    ``two_folders``: patterns of its clips (``SOURCE/**/*`` where a source is not named)."""
    extra: tuple[str, ...] = ()
    """For ``class_folders``: folders of more clips, for training alone."""
    recording: str = r"(.+?)(?:[-_ ]\d{1,3})?"
    """Where no manifest says: a regular expression of a file's name, without its suffix, whose first
    group names the recording that it was cut from. Training and validation (of ``class_folders``
    and of folds) share none. The default takes ``bark-1`` and ``bark-2`` for excerpts of ``bark``."""
    mixing: MixingConfig = field(default_factory=MixingConfig)
    """For ``class_folders``: how clips are overlaid."""
    valid_mixtures: int = 100
    """For ``class_folders``: mixtures of the validation recordings to choose by."""
    seconds: float = 4.0
    """Length of a training excerpt."""
    remix: float = 0.5
    """Share of the examples whose sources come from different recordings."""
    circular: bool = True
    """Read each source of a recording from a start of its own, wrapping round its end."""
    skip_seconds: float = 0.0
    """For recordings of songs: an intro that no excerpt starts in, where the song is long enough."""
    sections: int = 0
    """For recordings of songs: excerpts start at this many points, evenly spaced; 0 for anywhere."""
    folds: int = 0
    """Cross-validation: the recordings to train on are split into this many folds; 0 for none."""
    fold: int = 0
    """The fold that validates; the others train."""
    cache: str = "~/.cache/jaxsep"
    """Folder of the decoded recordings."""
    threads: int = 2
    """Threads that read ahead; the order of the examples does not depend on them."""

    def __post_init__(self):
        if not 0 <= self.remix <= 1:
            raise ValueError(f"remix={self.remix}: expected 0 to 1")
        if self.folds and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise ValueError(
                f"folds={self.folds}, fold={self.fold}: expected at least 2 folds, and one of them"
            )
        if self.sections < 0 or not 0 <= self.skip_seconds < 36000:
            raise ValueError(
                f"sections={self.sections}, skip_seconds={self.skip_seconds}: expected 0 or more"
            )
        if not 0 < self.seconds <= 600:
            raise ValueError(f"seconds={self.seconds}: expected more than 0 and at most 600")
        try:
            groups = re.compile(self.recording).groups
        except re.error as error:
            raise ValueError(f"recording={self.recording!r}: not a regular expression ({error})") from error
        if groups < 1 or self.valid_mixtures < 1:
            raise ValueError(
                f"recording={self.recording!r}, valid_mixtures={self.valid_mixtures}: expected a group in "
                "parentheses and at least 1 mixture"
            )
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

    @property
    def excerpt_samples(self) -> int:
        """Samples of a training excerpt."""
        return round(self.data.seconds * self.system.sample_rate)

    @property
    def read_samples(self) -> int:
        """Samples to read of one, so that augmentation leaves as many."""
        return self.augment.read_length(self.excerpt_samples)

    def step_options(self) -> dict:
        """Arguments of :func:`jaxsep.training.train_step`, its optimiser aside."""
        return {
            "system": System(self.system),
            "loss": self.loss,
            "augmentation": self.augment,
            "length": self.excerpt_samples,
            "ema_decay": self.ema_decay,
        }


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


def parse_with_overrides(parser, arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """A script's own options, and the overrides of the config behind ``--``."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:place]), arguments[place + 1 :]


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
_FREE |= {"allow_changes", "data.cache", "data.threads", "data.valid", "data.train", "data.extra"}


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
