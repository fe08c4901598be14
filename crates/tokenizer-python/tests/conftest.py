import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def testdata():
    return ROOT / "testdata"


@pytest.fixture(scope="session")
def docs():
    return ROOT / "docs"


@pytest.fixture(scope="session")
def tiny():
    return ROOT / "models/tiny"
