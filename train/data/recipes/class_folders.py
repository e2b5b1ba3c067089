"""Recipes of clips of one source each, which are overlaid to examples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from jaxsep.audio import audio_files
from jaxsep.errors import UserError
from jaxsep.parts import Generator, check_ranges, find, ranged, register
from train.data import generators as generators
from train.data.bank import Bank, Signal, Track
from train.data.listing import data_folder, listed_as, matching_files, part_of, read_manifest, recording_of
from train.data.mixtures import Mixtures
from train.data.placed import Placed, place_mixtures
from train.data.recipes.recipe import Examples, Recordings

#: Seed of the mixtures for model selection, whatever the seed of the run.
_VALID_SEED = 0


@register("recipe", "class_folders")
@dataclass(frozen=True)
class ClassFolders:
    """Each file is a clip of the class whose folder it is in; an example overlays clips of all classes.

    A ``manifest.csv`` with the columns ``path`` and ``split`` (and ``source_id``, the recording) says which
    clips train and which validate. Without one, training and validation folders that are the same are split
    92 to 8 by recording, class by class; excerpts of one recording stay together.
    """

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Patterns of a source's clips; ``SOURCE/**/*`` where it is not named."""
    extra: tuple[str, ...] = ()
    """Folders of more clips, for training alone."""
    extra_share: float = ranged(0.3, least=0, most=1)
    """Share of a class's clips that come from ``extra``, where that has the class."""
    extra_shares: dict[str, float] = ranged({}, least=0, most=1)
    """``extra_share`` of single classes, where it differs."""
    gain_db: float = ranged(5.0, least=0, most=60)
    """Largest difference of a clip's level from -23 dBFS, up or down, dB."""
    overlay: dict[str, int] = ranged({"other": 2}, least=1)
    """How many clips are overlaid to a source; one where it is not named."""
    absent: float = ranged(0.0, least=0, below=1)
    """Chance of each source to be left out of an example; one always stays."""
    max_silence: float = ranged(0.3, least=0, below=1)
    """Largest share of silence in a clip of an example; longer pauses are shortened."""
    free_silence: tuple[str, ...] = ("other",)
    """Sources whose clips may hold any share of silence."""
    low_pass: float = ranged(0.0, least=0, most=1)
    """Share of the clips that are low-passed, at 2.5 to 10 kHz, so that a class cannot be recognized by its
    bandwidth."""
    speed_semitones: float = ranged(0.0, least=0, most=12)
    """Largest change of a clip's pitch and tempo, semitones."""
    equalizer_db: float = ranged(0.0, least=0, most=60)
    """Largest gain or loss of an octave of a clip, dB."""
    reverb: float = ranged(0.0, least=0, most=1)
    """Share of the clips that sound in a room, each another; in stereo its tail differs by channel."""
    pan: float = ranged(0.0, least=0, most=1)
    """How far clips are placed from the middle between two channels; 1 for as far as one channel alone."""
    generated: dict[str, float] = ranged({}, least=0, most=1)
    """Share of a source's clips that are generated."""
    generators: dict[str, Generator] = field(default_factory=dict)
    """What generates a source's clips; the generator of the source's name where it is not named."""
    valid_mixtures: int = ranged(100, least=1, most=100000)
    """Mixtures of the validation recordings, used for model selection."""

    def __post_init__(self):
        check_ranges(self)
        for source in self.generated:
            self.generator(source)

    def share_of_extra(self, source: str) -> float:
        """Share of a source's clips that come from ``extra``."""
        return self.extra_shares.get(source, self.extra_share)

    def generator(self, source: str) -> Any:
        """What generates clips of a source."""
        return self.generators[source] if source in self.generators else find("generator", source)()

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The clips below a folder and, to train on, below the extra ones."""
        if unknown := [name for name in self.extra_shares if name not in sources]:
            raise UserError(
                f"data.recipe.extra_shares: {unknown[0]}: expected some of the sources, {', '.join(sources)}"
            )
        tracks = self._clips(data, folder, sources, part)
        if part == "train":
            for pattern in self.extra:
                extra = data_folder(pattern, "data.recipe.extra")
                tracks += self._clips(data, extra, sources, part, extra=True)
        for source in sources:
            needed = part == "valid" or self.generated.get(source, 0) < 1
            if needed and all(t.label != source for t in tracks):
                raise UserError(
                    f"{folder}: no clip of the class {source} for data.{part}; expected files in "
                    f"{source}/, other names in data.recipe.files.{source}, or (without a manifest) enough "
                    "recordings to split; data.recording says which files are one recording"
                )
        return tracks

    def examples(self, data: Any, bank: Bank, sources, seed: int, length: int, count: int) -> Examples:
        """Mixtures."""
        return Mixtures(bank, self, sources, seed, length, count)

    def placed(self, data: Any, examples: Any, budget: int) -> Placed | None:
        """The same, mixed on the device; the host sends windows where clips exceed ``budget`` bytes."""
        return place_mixtures(examples, budget, data.generated_pool)

    def validation(self, data: Any, bank: Bank, sources) -> Recordings:
        """Fixed mixtures of clips as they were found."""
        plain = replace(self, absent=0.0, generated={}, low_pass=0.0, speed_semitones=0.0, equalizer_db=0.0)
        length = round(data.seconds * bank.sample_rate)
        plain = replace(plain, reverb=0.0, pan=0.0)
        return Mixtures(bank, plain, sources, _VALID_SEED, length, self.valid_mixtures)

    def _clips(self, data, folder, sources, part, extra=False):
        """The clips of a folder that belong to a part."""
        manifest, files = read_manifest(folder), audio_files(folder)
        tracks: list[Track] = []
        known: dict = {}
        for source in sources:
            clips = []
            for path in matching_files(folder, self.files.get(source, (f"{source}/**/*",)), files):
                name = path.relative_to(folder).as_posix()
                if (other := known.setdefault(path, source)) != source:
                    raise UserError(f"data.recipe.files: {path} matches those of {other} and of {source}")
                recording, belongs = recording_of(data.recording, path), part
                if manifest:
                    recording, belongs = listed_as(manifest, folder, name)
                if belongs == part:
                    name = f"{folder.name}/{name}" if extra else name
                    clips.append(Track(name, ((Signal(str(path)),),), source, recording, extra))
            tracks += clips if manifest or extra else part_of(clips, part, data)
        return tracks
