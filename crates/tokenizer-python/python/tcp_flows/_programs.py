"""The programs tcp-encode, tcp-decode and tcp-eval, as commands of a Python environment."""

import sys

from . import _native


def _run(name):
    sys.exit(_native.main([name, *sys.argv[1:]]))


def tcp_encode():
    _run("tcp-encode")


def tcp_decode():
    _run("tcp-decode")


def tcp_eval():
    _run("tcp-eval")
