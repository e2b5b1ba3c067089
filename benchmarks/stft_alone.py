"""The transforms of ``stft`` on one device, as a user has it who simulates none."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import stft
from benchmarks.timing import Result


def run(say) -> list[Result]:
    """Run every case of ``stft`` on the one device that there is."""
    return [replace(result, case=f"{result.case}, one device") for result in stft.run(say)]
