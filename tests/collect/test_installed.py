"""The texts of what is installed: what identifies them."""

from __future__ import annotations

import re

from curate.collect.installed import InstalledPackages
from curate.stages.contract import SourceContext


def test_the_content_says_that_it_is_one_set_of_packages(tmp_path):
    parts = InstalledPackages(source_megabytes=0.1).plan(SourceContext(tmp_path, 1 << 20, lambda _: ""))
    (content,) = {part.content for part in parts}
    assert {part.name for part in parts} > {"installed/descriptions", "installed/licences"}
    assert re.fullmatch(r"python-3\.\d+\.\d+\+\d+-packages:[0-9a-f]{64}", content)
