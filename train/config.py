"""The config of a training run: YAML from ``configs/``, any field overridden by its dotted name."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from jaxsep.augment import AugmentConfig
from jaxsep.distillation import Distillation
from jaxsep.errors import UserError
from jaxsep.fine_tuning import FineTuning
from jaxsep.losses import SNR
from jaxsep.optimizers import Adam
from jaxsep.parts import (
    Loss,
    Optimizer,
    Recipe,
    check_ranges,
    checked,
    from_dict,
    load_plugin,
    missing_part,
    ranged,
)
from jaxsep.precision import Precision
from jaxsep.system import System, SystemConfig
from jaxsep.training import check_loss
from train.data.recipes import StereoPairs


@checked
@dataclass(frozen=True)
class DataConfig:
    """Which recordings, and the recipe by which training examples are drawn from them."""

    recipe: Recipe = field(default_factory=StereoPairs)
    """``stereo_pairs``: each file holds one source a channel; ``song_folders``: each folder holds
    one file a source; ``musdb``: MUSDB18 as it is published; ``class_folders``: each file holds one
    source, and examples overlay clips; ``two_folders``: the same of two folders of whole recordings,
    mixed pairwise as they are."""
    train: str = "$JAXSEP_DATA/mir1k/train"
    """Folder of the recordings to train on; environment variables are filled in. Where ``train``
    and ``valid`` are the same, recordings are split by the manifest, or 92 to 8."""
    valid: str = "$JAXSEP_DATA/mir1k/valid"
    """Folder of the validation recordings, used for model selection."""
    recording: str = r"(.+?)(?:[-_ ]\d{1,3})?"
    """Where no manifest says: a regular expression of a file's name, without its suffix, whose first
    group names the recording that it was cut from. Training and validation (of clips and of folds) share
    none. The default takes ``bark-1`` and ``bark-2`` for excerpts of ``bark``."""
    seconds: float = ranged(4.0, above=0, most=600)
    """Length of a training excerpt."""
    folds: int = ranged(0, least=0, most=1000)
    """Cross-validation: the recordings to train on are split into this many folds; 0 for none."""
    fold: int = ranged(0, least=0, most=999)
    """The fold that validates; the others train."""
    cache: str = "~/.cache/jaxsep"
    """Folder of the decoded recordings."""
    on_device: bool = False
    """Recordings lie on the device, the host sends what it drew, and examples are made inside the step: for
    accelerators, which mixing on the host would starve."""
    device_gib: float = ranged(4.0, above=0, most=1024)
    """Most audio that lies on a device, GiB; of more, the host sends what is drawn from it."""
    generated_pool: int = ranged(512, least=1, most=65536)
    """Generated clips of a source that lie on the device; elsewhere each is another."""
    distinct: int = ranged(0, least=0, most=2**31 - 1)
    """How many different examples a run draws, a fixed set: after them the same come again, in the same
    order. 0 for another example every time. What ``augment`` does to them differs each time."""
    threads: int = ranged(2, least=0, most=1024)
    """Threads that read ahead; the order of the examples does not depend on them."""

    def __post_init__(self):
        check_ranges(self)
        if self.folds and not (self.folds >= 2 and self.fold < self.folds):
            raise ValueError(
                f"folds={self.folds}, fold={self.fold}: expected at least 2 folds, and one of them"
            )
        try:
            groups = re.compile(self.recording).groups
        except re.error as error:
            raise ValueError(f"recording={self.recording!r}: not a regular expression ({error})") from error
        if groups < 1:
            raise ValueError(f"recording={self.recording!r}: expected a group in parentheses")


@checked
@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    system: SystemConfig = field(default_factory=SystemConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: Loss = field(default_factory=SNR)
    """What is minimized."""
    optimizer: Optimizer = field(default_factory=Adam)
    """By which rule, and how its learning rate changes."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    out: str = "runs/default"
    """The run folder."""
    steps: int = ranged(1000, least=1, most=2**31 - 1)
    """Training steps in all."""
    batch_size: int = ranged(16, least=1, most=65536)
    """Examples of a step, over all devices and hosts."""
    precision: Precision = "float32"
    """Of the network: ``float32``, or ``bfloat16`` for accelerators; all else is computed in float32."""
    accumulate: int = ranged(1, least=1, most=65536)
    """Parts of a batch that are computed one after another, for less memory; batch norm sees each alone."""
    remat: bool = False
    """Compute what is cheap again in the reverse pass, for less memory."""
    fsdp: bool = False
    """Spread large parameters and their optimizer state over the devices, for less memory on each."""
    seed: int = ranged(0, least=0, below=2**32)
    ema_decay: float = ranged(0.0, least=0, below=1)
    """Decay of the moving average of the parameters; 0 for none."""
    init_from: str = ""
    """A model's name or a model's or run's folder to start from: every array of it that fits by name and
    shape; the others start fresh, and are listed."""
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    """What of the network is trained, and how fast."""
    distillation: Distillation = field(default_factory=Distillation)
    """Another model to learn from beside the sources."""
    log_every: int = ranged(20, least=1, most=2**31 - 1)
    valid_every: int = ranged(500, least=1, most=2**31 - 1)
    save_every: int = ranged(200, least=1, most=2**31 - 1)
    keep: int = ranged(2, least=2, most=10000)
    """Checkpoints to keep."""
    examples: int = ranged(2, least=0, most=1000)
    """Validation recordings whose audio and spectrograms go to TensorBoard."""
    wandb: str = ""
    """The project of Weights & Biases to follow the run in, too; needs the extra ``wandb``."""
    patience: int = ranged(0, least=0, most=2**31 - 1)
    """Stop when this many validations in a row have not been better than the best; 0 to take all steps."""
    profile: tuple[int, int] = ranged((0, 0), least=0, most=2**31 - 1)
    """Steps from and up to which the profiler traces, into ``profile/`` of the run folder."""
    max_bad_steps: int = ranged(10, least=1, most=2**31 - 1)
    """Stop after this many steps in a row in which something was not finite."""
    from_scratch: bool = False
    """Start over in a run folder none of whose checkpoints is whole; they and the best model are moved to
    ``damaged/`` in it."""
    allow_changes: bool = False
    """Resume a run although its config or its recordings are others now."""

    def __post_init__(self):
        check_ranges(self)
        check_loss(self.loss, self.system)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate}: expected a divisor of batch_size={self.batch_size}"
            )
        if self.system.channels != 2 and (self.augment.pan or self.augment.swap_channels):
            field_name = "pan" if self.augment.pan else "swap_channels"
            value = getattr(self.augment, field_name)
            raise ValueError(
                f"augment.{field_name}={value}: expected a system of two channels; system.channels=1"
            )

    @property
    def excerpt_samples(self) -> int:
        """Samples of a training excerpt."""
        return round(self.data.seconds * self.system.sample_rate)

    @property
    def read_samples(self) -> int:
        """Samples to read of one, so that augmentation leaves as many."""
        return self.augment.read_length(self.excerpt_samples)

    def step_options(self) -> dict:
        """Arguments of :func:`jaxsep.training.train_step`, its optimizer aside."""
        return {
            "system": System(self.system),
            "loss": self.loss,
            "augmentation": self.augment,
            "length": self.excerpt_samples,
            "ema_decay": self.ema_decay,
            "tuning": self.fine_tuning,
            "precision": self.precision,
            "accumulate": self.accumulate,
            "remat": self.remat,
        }


def load_config(path: str, arguments: list[str]) -> TrainConfig:
    """Read a YAML config and the command line's overrides; unknown keys are errors.

    ``--plugin FILE_OR_MODULE`` imports parts first; ``--FIELD.name NAME`` puts another part, with its
    defaults, in a field's place; every other field is overridden by its dotted name.
    """
    plugins, parts, overrides = _split(arguments)
    for plugin in plugins:
        load_plugin(plugin)
    values = _read_yaml(path)
    try:
        for field_name, name in parts:
            _set_part(values, field_name, name)
        config = from_dict(TrainConfig, values, "config")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}{_hint(error)}") from error
    return _fits_window(_overridden(config, path, overrides))


def _fits_window(config):
    """Refuse excerpts that do not fill a network's window; of a whole config, as fields change one by one."""
    system = config.system
    if not system.fits(config.excerpt_samples):
        raise UserError(
            f"data.seconds={config.data.seconds}: system.network.name={system.network.name!r} takes "
            f"{system.network.window} frames, not {system.codec.frames(config.excerpt_samples)}; expected "
            f"{system.segment / system.sample_rate:.4f} s"
        )
    return config


def _read_yaml(path):
    try:
        values = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); see configs/ for those there are"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not plain YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a mapping of fields to values")
    return values


def _split(arguments):
    """Plugins, parts chosen by name, and what is left for the fields."""
    plugins, parts, rest, queue = [], [], [], list(arguments)
    while queue:
        argument = queue.pop(0)
        flag, _, value = argument.partition("=")
        if flag != "--plugin" and not (flag.startswith("--") and flag.endswith(".name")):
            rest.append(argument)
            continue
        if "=" not in argument:
            if not queue:
                raise UserError(f"{flag}: expected a value behind it")
            value = queue.pop(0)
        if flag == "--plugin":
            plugins.append(value)
        else:
            parts.append((flag.removeprefix("--").removesuffix(".name").replace("-", "_"), value))
    return plugins, parts, rest


def _set_part(values, field_name, name):
    """Put a part with its defaults at a dotted place of a config."""
    *path, last = field_name.split(".")
    for key in path:
        inner = values.get(key) or {}
        values[key] = {"name": inner} if isinstance(inner, str) else inner  # a part in its short form
        values = values[key]
        if not isinstance(values, dict):
            raise ValueError(f"{field_name}: there is no such field")
    before = values.get(last)
    before = before.get("name") if isinstance(before, dict) else before
    if before != name:
        values[last] = {"name": name}


def _overridden(config, path, overrides):
    """The config with single fields given on the command line."""
    import tyro

    return tyro.cli(
        type(config),
        args=overrides,
        default=config,
        prog=f"python -m train {path}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def _hint(error):
    return "; --plugin FILE_OR_MODULE imports a part of your own" if missing_part(error) else ""


def parse_with_overrides(parser, arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """A script's own options, and the overrides of the config behind ``--``."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:place]), arguments[place + 1 :]


#: Fields that may differ between a run and its continuation.
_FREE = {"out", "log_every", "valid_every", "save_every", "keep", "examples", "max_bad_steps"}
_FREE |= {
    "patience",
    "wandb",
    "fsdp",
    "profile",
    "allow_changes",
    "from_scratch",
    "data.cache",
    "data.threads",
    "data.device_gib",
    "data.valid",
    "data.train",
    "data.recipe.extra",
}


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
        if name == "steps" and now["optimizer"].get("schedule", {}).get("name") == "constant":
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changes += changed_fields(old, new, f"{name}.")
        else:
            changes.append(f"{name}: {old} -> {new}")
    return changes
