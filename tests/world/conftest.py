"""One world for all tests of this folder; it is read only."""

import pytest

from palimpsest.world import World


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def small() -> World:
    return World(size="s")
