"""Names, types and programs of the package as it is installed."""

import ast
import pathlib
import subprocess
import sys
import sysconfig

import pyarrow
import pytest

import tcp_flows
from tcp_flows import _native

PROGRAMS = pathlib.Path(sysconfig.get_path("scripts"))


def test_the_stubs_have_the_names_of_the_module():
    stub = ast.parse(pathlib.Path(tcp_flows.__file__).with_name("_native.pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    names = set(classes) | {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    names |= {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    assert names == {name for name in dir(_native) if not name.startswith("__")} | {"__version__"}
    for name, node in classes.items():
        stubs = {method.name for method in node.body if isinstance(method, ast.FunctionDef)} - {"__new__"}
        found = {n for n in vars(getattr(_native, name)) if not n.startswith("__") or n in ("__len__", "__getitem__")}
        assert stubs - {"__arrow_c_stream__"} == found - {"__arrow_c_stream__"}, name


def test_every_name_has_a_docstring():
    for name in tcp_flows.__all__:
        if name not in ("Flows", "Model") and callable(getattr(tcp_flows, name)):
            assert getattr(tcp_flows, name).__doc__, name


def test_programs_start_without_what_they_do_not_need():
    code = "import sys, tcp_flows._programs; print([name for name in ('numpy', 'pyarrow', 'torch') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr


def test_a_name_that_is_none_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'encoder'"):
        tcp_flows.encoder


def test_the_readme_prints_what_it_shows(testdata):
    section = (testdata.parent / "README.md").read_text().split("### tcp_flows")[1]
    code, shown = (section.split(f"```{language}\n")[1].split("```")[0] for language in ("python", "text"))
    said = subprocess.run([sys.executable, "-c", code], cwd=testdata.parent, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == (shown, "")


@pytest.mark.parametrize("name", ["tcp-encode", "tcp-decode", "tcp-eval"])
def test_the_programs_come_along(name):
    if not (PROGRAMS / name).exists():
        pytest.skip(f"{name} is not installed: the package is on a path alone")
    said = subprocess.run([PROGRAMS / name, "--version"], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, f"{name} {tcp_flows.__version__}\n")


def test_a_program_has_its_exit_codes_and_streams(testdata, tmp_path):
    if not (PROGRAMS / "tcp-encode").exists():
        pytest.skip("tcp-encode is not installed: the package is on a path alone")
    run = lambda *words: subprocess.run([PROGRAMS / "tcp-encode", *words], capture_output=True)
    piped = run(testdata / "quick.pcap", "-")
    assert piped.returncode == 0 and pyarrow.ipc.open_stream(piped.stdout).read_all().num_rows == 18
    failed = run(tmp_path / "none", "-")
    assert failed.returncode == 2 and failed.stderr.startswith(b"tcp-encode: ") and failed.stderr.count(b"\n") == 1
    (tmp_path / "damaged.pcap").write_bytes((testdata / "quick.pcap").read_bytes()[:-10])
    assert run(tmp_path / "damaged.pcap", tmp_path / "flows").returncode == 1
    assert run("--man").stdout.startswith(b".ie")
