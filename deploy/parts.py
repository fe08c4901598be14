"""The parts of a run of tcp-encode as tasks, for ray-encode and dask-encode."""

import argparse
import shlex
import subprocess
import sys


def arguments(description):
    """The command line: options of the engine, and in `words` those that tcp-encode gets."""
    parser = argparse.ArgumentParser(
        description=description, usage="%(prog)s [--parts N] [--address ADDRESS] --output OUTPUT INPUT... [TCP-ENCODE-OPTION...]"
    )
    parser.add_argument("--parts", type=int, help="number of parts [default: four for each CPU of the cluster]")
    parser.add_argument("--address", help="address of a running cluster [default: this machine alone]")
    parser.add_argument("--output", required=True, help="folder of the dataset, on a file system that all machines share")
    args, args.words = parser.parse_known_args()
    return args


def commands(args, cpus):
    """The command of each part. A part that is there already does nothing."""
    parts = args.parts or 4 * int(cpus)
    for part in range(1, parts + 1):
        part = ["--part", f"{part}/{parts}", "--resume", "--jobs", "1", "--quiet"]
        yield ["tcp-encode", *args.words, args.output, *part]


def run(command):
    """Runs a command on the machine of a worker, and returns its messages. Exit code 1 says that items were left out and named."""
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"{shlex.join(command)}: exit code {ended.returncode}\n{ended.stderr}")
    return ended.stderr


def join(args):
    """Joins the parts, and ends with the exit code of that."""
    sys.exit(subprocess.run(["tcp-encode", "--join", args.output], check=False).returncode)
