"""A site on this machine, a store, and sources that fetch the one into the other."""

import pytest

from tests.collect.web.site import Site
from tests.collect.web_server import serving


@pytest.fixture
def web():
    with serving() as server:
        yield server


@pytest.fixture
def site(tmp_path, web):
    return Site(tmp_path, web)
