"""Where a run is followed besides its ``log.jsonl``: TensorBoard, and Weights & Biases where asked for."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxsep.errors import UserError
from jaxsep.spectral import amplitude_to_db, stft


class Board(Protocol):
    """Takes the figures of a run, and the audio of its validations."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Show figures of a step."""

    def sound(self, step: int, name: str, audio: np.ndarray, sample_rate: int) -> None:
        """Show ``(channels, samples)`` float32 audio within -1 and 1, and its spectrogram."""

    def close(self, failed: bool) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run folder."""

    def __init__(self, out: Path, step: int):
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def scalars(self, step, values):
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def sound(self, step, name, audio, sample_rate):
        self._writer.add_audio(name, audio.T, step, sample_rate)
        self._writer.add_image(name, spectrogram(audio.mean(axis=0)), step, dataformats="HW")

    def close(self, failed):
        self._writer.close()


class WeightsAndBiases:
    """A run of a project of Weights & Biases, which goes on where the run folder's does."""

    def __init__(self, out: Path, project: str, config: dict[str, Any]):
        import wandb

        name = out.absolute().name
        self._wandb = wandb
        # The same folder is the same run there, however often it is stopped.
        key = out / "wandb.id"
        identity = key.read_text().strip() if key.exists() else secrets.token_hex(4)
        key.write_text(identity + "\n")
        again = dict(id=identity, resume="allow", reinit="create_new")  # beside others of this process
        self._run = wandb.init(project=project, name=name, dir=str(out), config=config, **again)

    def scalars(self, step, values):
        self._run.log(values, step=step)

    def sound(self, step, name, audio, sample_rate):
        picture = self._wandb.Image(spectrogram(audio.mean(axis=0)))
        sound = self._wandb.Audio(audio.T, sample_rate=sample_rate)
        self._run.log({f"{name}/sound": sound, f"{name}/spectrogram": picture}, step=step)

    def close(self, failed):
        self._run.finish(exit_code=int(failed))


def boards(out: Path, step: int, wandb: str, config: dict[str, Any]) -> list[Board]:
    """Those that there are: TensorBoard where it is installed, and the project of Weights & Biases ``wandb``.

    Raises:
      UserError: Weights & Biases is asked for and not installed, or does not begin.
    """
    found: list[Board] = []
    with contextlib.suppress(ImportError):
        found.append(TensorBoard(out, step))
    if wandb:
        try:
            found.append(WeightsAndBiases(out, wandb, config))
        except ImportError as error:
            raise UserError(f"wandb={wandb}: {error}; pip install 'jaxsep[wandb]'", "wandb") from error
        except Exception as error:  # its own kinds: no account, no network
            raise UserError(
                f"wandb={wandb}: Weights & Biases does not begin ({error}); log in with 'wandb login', "
                "set WANDB_MODE=offline, or leave it out",
                "wandb",
            ) from error
    return found


def spectrogram(audio: np.ndarray) -> np.ndarray:
    """Gray levels in [0, 1] of ``(samples,)``, low frequencies at the bottom."""
    db = np.asarray(amplitude_to_db(np.abs(stft(audio, n_fft=1024)), top_db=80.0))
    return ((db - db.max()) / 80.0 + 1.0)[::-1].astype(np.float32)
