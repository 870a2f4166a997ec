"""Pages of ablations and sweeps: what they tell, drawings among it, whole on every screen, and names that do nothing."""

from __future__ import annotations

import json
import re

import pytest

from curate.reports.ablation import build_ablation_page, render_ablation
from curate.reports.sweep import build_sweep_page, meaning, render_sweep
from tests.reports.experiments import results
from tests.reports.page import Page

HOSTILE = "<script>alert(1)</script>" + "antidisestablishmentarianism" * 4


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return results(tmp_path_factory.mktemp("experiments"))


@pytest.fixture(scope="module")
def pages(told, tmp_path_factory):
    """The page of an ablation, and that of a sweep, with names that are long and hostile."""
    folder = tmp_path_factory.mktemp("pages")
    ablation, sweep = (json.loads(json.dumps(one).replace("rows", HOSTILE)) for one in told)
    return [build_ablation_page(ablation, folder / "ablation.html"), build_sweep_page(sweep, folder / "sweep.html")]


def test_the_page_of_an_ablation_draws_learning_curves_with_the_band_of_their_seeds(told):
    html = render_ablation(told[0])
    assert html.count('class="band series-') == 2 * len(told[0]["arms"])  # on a desk and on a phone
    for words in ("Learning curves", "least", "most"):
        assert words in Page(html).text, words


def test_the_page_of_an_ablation_has_home_advantage_and_gates(told):
    text = Page(render_ablation(told[0])).text
    home = told[0]["home"]
    assert home["sets"] == {"rows@v1": "rows-v1-validation", "rows@v2": "rows-v2-validation"}
    assert f"than elsewhere by {home['advantage']:+.4f} bits per byte" in text
    assert "rows-v2-validation (of rows@v2)" in text and "bits_per_byte better not shown" in text


def test_the_verdict_of_a_comparison_stands_beside_its_arm(told):
    html = render_ablation(told[0])
    table = html[html.index("<caption>Comparisons</caption>") :]
    header = re.findall(r'<th scope="col">([^<]*)</th>', table[: table.index("</thead>")])
    assert header[:3] == ["arm", "verdict", "held-out set"]
    cells = re.findall(r"<td>([^<]*)</td>", table[: table.index("</table>")])
    assert cells[0] in ("better", "worse", "no difference shown", "unstable") and cells[1] == "macro"


def test_long_names_are_told_apart_in_charts(told):
    changed = json.loads(json.dumps(told[0]).replace("rows", "the-version-without-a-stage-of-long-name"))
    page = Page(render_ablation(changed))
    assert "the-version\u2026-v1-validation" in page.text and "the-version\u2026-v2-validation" in page.text
    alike = json.loads(json.dumps(told[0]).replace("rows-v", "x" * 20 + "-rows-v").replace("-validation", "-" * 20))
    assert all(f"{number}. xxxxxxxxxxx\u2026" in Page(render_ablation(alike)).text for number in (1, 2))


def test_the_page_of_a_sweep_tells_the_verdict_what_picking_added_and_what_diverged(told):
    text = Page(render_sweep(told[1])).text
    assert meaning(told[1])[0] in text
    for words in ("How much picking flatters", "not picked by", "optimizer.learning_rate=0.5: 1 of 3 trainings diverged",
                  "a training diverged", "--set optimizer.learning_rate=0.02"):  # fmt: skip
        assert words in text, words


def test_names_do_nothing(pages):
    for page in pages:
        assert not Page(page.read_text()).of("script")


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_are_whole_on_a_phone_and_ask_for_nothing(pages, browser, dark):
    for page in pages:
        tab = browser.open(page, width=390, height=844, dark=dark)
        tab.evaluate('document.querySelectorAll("details").forEach(one => one.open = true)')
        assert tab.evaluate("document.documentElement.scrollWidth == document.documentElement.clientWidth"), page.name
        assert (tab.requests(), tab.complaints(), tab.dialogs(), tab.serious()) == ([page.as_uri()], [], [], []), (
            page.name
        )


@pytest.mark.slow
def test_the_verdict_is_seen_on_a_screen_of_1200_pixels(told, browser, tmp_path):
    long = json.loads(json.dumps(told[0]).replace("rows", "the-version-without-gopher_quality"))
    tab = browser.open(build_ablation_page(long, tmp_path / "page.html"), width=1200, height=900, dark=False)
    table = '[...document.querySelectorAll("table")].find(one => one.caption.textContent == "Comparisons")'
    right = "{}.getBoundingClientRect().right"
    verdict, region = right.format(f"{table}.rows[1].cells[1]"), right.format(f'{table}.closest(".scroll")')
    assert tab.evaluate(f"{verdict} <= {region}")
