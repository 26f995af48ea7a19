"""The server that forks the processes of fault tests."""

from __future__ import annotations

import pytest

from tests.faults.processes import Starter


@pytest.fixture(scope="session")
def starter(tmp_path_factory):
    with Starter(tmp_path_factory.mktemp("processes")) as made:
        yield made
