"""``python -m tests.faults [ROW ...]``: what strikes users of separation software, survived / tried.

Each row is a kind of accident, met in the trackers of other projects or by trying this one, and names the
tests that cause it. A case is survived when its test passes: the right result, or exit status 2 with one
message, no traceback, no partial file under a final name, and the rest of a batch done. Cases that cannot be
tried here (no ffmpeg, no browser) are not counted, and said.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

_HOSTILE, _STORE, _RUN = "test_hostile.py::test_", "test_store.py::test_", "test_training_run.py::test_"
_FILES, _HEARD, _LIST = "test_files.py::test_", "test_containers.py::test_", "test_listing.py::test_"
_STREAM, _SHAPES, _MODES = "test_streaming.py::test_", "test_shapes.py::test_", "test_modes.py::test_"

#: Row -> what happens, and beginnings of the names of the tests that make it happen.
ROWS: dict[str, tuple[str, list[str]]] = {
    "R1-R6": (
        "empty, cut, damaged, missing files; NaN samples",
        [
            f"{_FILES}a_file_that_cannot_be_read_is_named_and_the_rest_is_done",
            f"{_FILES}a_file_that_is_cut_off_is_used_with_a_warning_or_refused",
            f"{_FILES}samples_that_are_not_finite_can_be_zeroed",
            f"{_HEARD}a_wav_of_which_the_end_is_missing",
            f"{_HEARD}an_mp3_of_which_the_end_is_missing",
            f"{_HEARD}an_empty_wav_has_no_audio",
        ],
    ),
    "R7-R11": (
        "offsets, silence, a few samples, any channels and rates",
        [
            f"{_STREAM}silence_offsets_and_loudness_stay_finite",
            f"{_STREAM}short_input_does_not_depend",
            f"{_STREAM}any_channels_are_separated_each_on_its_own",
            f"{_STREAM}any_rate_keeps_length_level_and_sum",
        ],
    ),
    "R12": ("headers that state absurd numbers", [f"{_FILES}headers_that_state_absurd_numbers"]),
    "R13": ("names in any script and encoding", [f"{_FILES}any_name_works"]),
    "R14": (
        "hours of audio",
        [
            "test_blind_separation.py::test_an_hour_takes_no_more_memory",
            f"{_FILES}a_length_is_read_from_the_chunk",
            f"{_HEARD}a_wav_of_unknown_length_beyond_4_gib",
        ],
    ),
    "R15": ("random damage", [f"{_FILES}random_damage_never_crashes"]),
    "R16": ("floats above full scale", [f"{_FILES}loud_floats_neither_wrap_nor_clip"]),
    "R17-R21": (
        "output that cannot be, full disks, kills, hostile names",
        [
            f"{_FILES}an_output_that_leads_elsewhere",
            f"{_FILES}a_full_disk_leaves_nothing",
            f"{_FILES}a_writer_that_fails_says_so",
            f"{_FILES}stems_of_one_file_appear_together",
            f"{_FILES}inputs_of_one_name_do_not_overwrite",
            f"{_FILES}stems_of_a_folder_that_is_not_ours",
        ],
    ),
    "R22-R27": (
        "models: other weights, damage, pickles, archives, wrong configs and names",
        [
            f"{_STORE}weights_of_another_config",
            f"{_STORE}damaged_weights_are_refused",
            f"{_STORE}a_pickle_is_never_executed",
            f"{_STORE}a_wrong_config_is_refused",
            f"{_STORE}a_model_that_is_not_there",
            f"{_HOSTILE}weights_that_are_named_twice",
        ],
    ),
    "R28": (
        "kill -9 at random instants",
        [f"{_RUN}a_killed_run_ends", f"{_RUN}a_run_killed_at_random_instants"],
    ),
    "R29": ("SIGTERM and SIGINT in training", [f"{_RUN}an_interrupted_run_ends_with_the_same_bits"]),
    "R30-R32": (
        "checkpoints: full disk, damage, leftovers",
        [f"{_RUN}a_damaged_checkpoint_is_passed_over", f"{_RUN}checkpoints_without_checksums"],
    ),
    "R33": ("two trainers in one folder", [f"{_RUN}a_second_trainer_is_refused"]),
    "R34": (
        "other numbers of devices",
        [
            "test_train_step.py::test_gradient_is_the_same",
            "test_train_step.py::test_a_step_of_sgd_is_the_same",
        ],
    ),
    "R35": ("other threads and hosts", [f"{_RUN}a_batch_is_a_function_of_seed_and_step"]),
    "R36": (
        "a loss that is not finite, once and for good",
        ["test_train_step.py::test_a_bad_example_is_skipped", f"{_RUN}a_run_gone_bad_stops"],
    ),
    "R37": (
        "data that are damaged, silent or too short",
        ["test_bank.py::test_a_file_that_is_not_there", f"{_RUN}what_is_missing_is_said_plainly"],
    ),
    "R38": ("bfloat16 at any level", ["test_precision.py::test_bfloat16_is_finite_at_any_level"]),
    "R39": ("resuming with another config", [f"{_RUN}another_config_is_refused_unless_allowed"]),
    "R40": (
        "scores of silence, perfection, NaN, other orders",
        [
            "test_bss_eval.py::test_special_estimates_score_as_documented",
            "test_bss_eval.py::test_a_silent_reference_leaves_the_others",
            "test_masks_losses_metrics.py::test_si_sdr_of_silence_and_nan",
            "test_commands.py::test_silence_has_no_score",
            "test_commands.py::test_a_perfect_estimate_is_counted",
        ],
    ),
    "R41": (
        "MP3 without a table, chained and cut-out streams",
        [
            f"{_HEARD}an_mp3_without_a_table",
            f"{_HEARD}an_mp3_that_goes_on",
            f"{_HEARD}an_mp3_of_low_rate",
            f"{_HEARD}an_ogg_",
            f"{_HEARD}ogg_streams_one_after_another",
            f"{_HEARD}foreign_bytes_between",
        ],
    ),
    "R42": (
        "unknown and placeholder lengths, pipes, containers of films",
        [
            f"{_HEARD}a_flac_whose_encoder",
            f"{_HEARD}a_wav_whose_writer",
            f"{_HEARD}other_samples_in_a_wav",
            f"{_HEARD}a_pipe_is_read",
            f"{_HEARD}of_an_unknown_length",
            f"{_HEARD}containers_of_films",
            f"{_HEARD}what_ffmpeg_leaves",
            f"{_HEARD}without_ffmpeg",
        ],
    ),
    "R43": (
        "microphones that hear the same, or nothing",
        [
            "test_blind_separation.py::test_channels_that_add_nothing",
            "test_blind_separation.py::test_rooms_at_any",
        ],
    ),
    "R44": (
        "manifests in other spellings",
        [
            f"{_LIST}a_table_finds_its_files",
            f"{_LIST}accents_are_compared",
            f"{_LIST}what_a_table_leaves_open",
        ],
    ),
    "R45": (
        "companions, links, emptied classes, a damaged cache",
        [
            f"{_LIST}hidden_files_and_companions",
            f"{_LIST}linked_folders_count",
            "test_bank.py::test_a_damaged_cache",
            "test_bank.py::test_other_sound_under_the_same_name",
        ],
    ),
    "R46": (
        "no whole checkpoint, a signal while decoding, an exploding step",
        [
            f"{_RUN}where_no_checkpoint_is_whole",
            "test_bank.py::test_a_signal_while_decoding",
            f"{_RUN}a_model_that_is_not_finite",
        ],
    ),
    "R47": (
        "one bad file in a batch, scores to places that cannot be written",
        [
            f"{_HOSTILE}a_folder_that_cannot_be_read",
            f"{_HOSTILE}a_name_that_the_terminal_cannot_print",
            f"{_HOSTILE}a_track_that_cannot_be_read",
            f"{_HOSTILE}places_for_scores_are_tried",
            f"{_HOSTILE}whatever_happens_to_a_file",
            f"{_HOSTILE}names_that_are_not_text",
            f"{_LIST}samples_that_are_not_finite_are_never_written",
        ],
    ),
    "R48": (
        "options and fields out of range",
        [
            f"{_HOSTILE}every_option_has_a_range",
            f"{_HOSTILE}no_field_of_a_config_is_without_bounds",
            f"{_HOSTILE}a_device_that_is_not_there",
            f"{_RUN}a_wrong_config_is_refused_by_field",
        ],
    ),
    "R49": (
        "pipes, devices, closed output, interrupts",
        [
            f"{_HOSTILE}the_standard_input_is_separated",
            f"{_HOSTILE}another_standard_input",
            f"{_HOSTILE}microphones_come_through_a_pipe",
            f"{_HOSTILE}a_reader_that_leaves",
            f"{_HOSTILE}a_device_is_no_file",
            f"{_HOSTILE}an_interrupt_at_any_time",
        ],
    ),
    "R50": (
        "the page with hostile names",
        [f"{_HOSTILE}a_page_takes_no_name_for_markup", "test_page_in_browser.py::test_the_page"],
    ),
    "R51": (
        "arrays of other layouts and types, meshes, JAX's modes, pickling",
        [
            f"{_SHAPES}a_separator_is_copied_and_pickled",
            f"{_SHAPES}arrays_that_cannot_be_written_to",
            f"{_SHAPES}other_precisions",
            f"{_SHAPES}samples_come_last",
            f"{_MODES}a_batch_spread",
            f"{_MODES}results_are_those",
            f"{_MODES}a_step_",
            f"{_MODES}what_shapes_follow_from",
            f"{_MODES}scores_in_float64",
        ],
    ),
    "R52": (
        "two hosts: start, save, kill one, signal one, resume on one and on two",
        [
            "test_hosts.py::test_two_hosts_train_what_one_does",
            "test_hosts.py::test_a_signal_to_one_host",
            "test_hosts.py::test_a_killed_host_costs",
            "test_hosts.py::test_a_run_of_one_host_goes_on",
            "test_hosts.py::test_a_second_job_in_the_folder",
        ],
    ),
}


class _Outcomes:
    """What became of each case, by the name of its test."""

    def __init__(self):
        self.cases: dict[str, str] = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.cases[report.nodeid] = report.outcome


def main(arguments: list[str]) -> int:
    """Run the rows' tests and print survived / tried; return how the tests ended."""
    unknown = [row for row in arguments if row not in ROWS]
    if unknown:
        print(f"faults: {unknown[0]}: expected some of {', '.join(ROWS)}", file=sys.stderr)
        return 2
    rows = {row: ROWS[row] for row in arguments or ROWS}
    folder = Path(__file__).parent
    files = sorted({str(folder / name.split("::")[0]) for _, names in rows.values() for name in names})
    wanted = sorted({name.split("::")[1] for _, names in rows.values() for name in names})
    outcomes = _Outcomes()
    status = pytest.main(["-m", "", "-k", " or ".join(wanted), *files], plugins=[outcomes])
    total: Counter = Counter()
    print(f"\n{'row':8} {'survived / tried':>17}")
    for row, (text, names) in rows.items():
        count = Counter(o for case, o in outcomes.cases.items() if any(n in case for n in names))
        total += count
        note = f"; {count['skipped']} not tried here" if count["skipped"] else ""
        print(f"{row:8} {_share(count):>17}  {text}{note}")
    print(f"{'all':8} {_share(total):>17}")
    unmatched = [n for _, names in rows.values() for n in names if not any(n in c for c in outcomes.cases)]
    if unmatched:
        print(f"no test is named {', '.join(unmatched)}", file=sys.stderr)
    return int(status) or bool(unmatched)


def _share(count):
    return f"{count['passed']} / {count['passed'] + count['failed']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
