#!/usr/bin/env python3
"""Shows with real processes that the promises of docs/reliability.md hold: each test here is a row of its table.

usage: python3 scripts/check/faults [--seed N] [--big] [TEST...]

By default all tests run; --big takes the sizes whose figures stand in the document. BIN names a folder with the programs;
without it they are built here. A test that this machine cannot run (no right to mount, no pyarrow) is reported as not run.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from harness import HERE, SETTINGS, NotRun
from hostile import capture_bombs, clock_goes_back, dataset_bombs, hash_flooding, option_bombs, syn_flood
from inputs import Inputs
from kills import kill_decode, kill_encode, kill_generate, kill_train
from memory import anonymized_round_trip, flat_memory, large_input, training_memory
from storage import (disk_full, disk_full_while_training, folder_vanishes, read_error, reader_leaves,
                     synced_before_they_appear, two_runs)

TESTS = [kill_encode, kill_decode, kill_train, kill_generate, disk_full, disk_full_while_training, folder_vanishes, read_error,
         reader_leaves, two_runs, synced_before_they_appear, clock_goes_back, syn_flood, hash_flooding, option_bombs,
         capture_bombs, dataset_bombs, large_input, flat_memory, training_memory, anonymized_round_trip]


def main():
    parser = argparse.ArgumentParser(prog="faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", nargs="*")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--big", action="store_true")
    args = parser.parse_args()
    SETTINGS.big = args.big
    if "BIN" in os.environ:
        SETTINGS.programs = Path(os.environ["BIN"])
    else:
        built = subprocess.run([HERE / "scripts/programs", "debug"], check=True, stdout=subprocess.PIPE, text=True)
        SETTINGS.programs = Path(built.stdout.strip())
    unknown = set(args.test) - {test.__name__ for test in TESTS}
    if unknown:
        sys.exit(f"faults: no such test: {', '.join(sorted(unknown))}")
    random.seed(args.seed)
    print(f"seed {args.seed}")
    not_run = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder))
        for test in [t for t in TESTS if not args.test or t.__name__ in args.test]:
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as work:
                try:
                    found = test(inputs, Path(work))
                except NotRun as why:
                    not_run.append(test.__name__)
                    found = f"not run: {why}"
                except AssertionError as failure:
                    line = traceback.extract_tb(failure.__traceback__)[-1].lineno
                    sys.exit(f"{test.__name__}: FAILED (--seed {args.seed}, line {line}): {failure}")
            print(f"{test.__name__}: {found} [{time.monotonic() - begun:.1f} s]", flush=True)
    print(f"faults: {len(args.test) or len(TESTS)} tests" + (f", not run: {', '.join(not_run)}" if not_run else ", all held"))


if __name__ == "__main__":
    main()
