"""Links have the labels filled in, and whatever a label contains stays within its part of the URL."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from qoemon.config.sections.link import NAMES, link_fault
from qoemon.outputs.page.links import Links

NASTY = ['a"b', "\\", "a b", "&x=1#y", "{region}", "../..", "\u202eü", "javascript:alert(1)", "\n", ""]

SILENCE = "https://alerts.example.org/#/silences/new?filter=%7B{matchers}%7D"
GRAPH = "https://prometheus.example.org/graph?g0.expr=qoemon_pow_ratio%7B{selector}%7D&g0.tab=0"
BOARD = "http://grafana/d/qoemon-group-detail?var-service={service}&var-region={region}"
ROUTE = "https://routes.example.org/{severity}/{alert}"

LINKS = Links({"Silence": SILENCE, "Graph": GRAPH, "Board": BOARD, "Route": ROUTE})


def urls(links: list[dict[str, str]]) -> dict[str, str]:
    return {link["name"]: link["url"] for link in links}


def test_an_alert_has_all_links_and_a_group_those_that_name_no_alert() -> None:
    of_alert = urls(LINKS.of_alert("video", {"region": "eu", "cdn": "a"}, "Poor", "page"))
    assert list(of_alert) == ["Silence", "Graph", "Board", "Route"]
    assert of_alert["Board"] == "http://grafana/d/qoemon-group-detail?var-service=video&var-region=eu"
    assert of_alert["Route"] == "https://routes.example.org/page/Poor"
    silence = parse_qs(urlsplit(of_alert["Silence"]).fragment.partition("?")[2])
    assert silence == {"filter": ['{alertname="Poor",service="video",region="eu",cdn="a"}']}
    of_group = urls(LINKS.of_group("video", {"region": "eu", "cdn": "a"}))
    assert list(of_group) == ["Silence", "Graph", "Board"]
    assert of_group["Graph"] == of_alert["Graph"]
    silence = parse_qs(urlsplit(of_group["Silence"]).fragment.partition("?")[2])
    assert silence == {"filter": ['{service="video",region="eu",cdn="a"}']}


@pytest.mark.parametrize("region", NASTY)
def test_a_label_stays_in_its_place(region: str) -> None:
    found = urls(LINKS.of_alert("video", {"region": region}, "Poor", "page"))
    for name, template in LINKS.templates.items():
        parts, of_template = urlsplit(found[name]), urlsplit(template)
        assert (parts.scheme, parts.netloc) == (of_template.scheme, of_template.netloc)
        assert found[name].isascii()
    board = parse_qs(urlsplit(found["Board"]).query, keep_blank_values=True)
    assert board == {"var-service": ["video"], "var-region": [region]}
    quoted = region.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    graph = parse_qs(urlsplit(found["Graph"]).query)
    assert graph["g0.expr"] == [f'qoemon_pow_ratio{{service="video",region="{quoted}"}}']


def test_a_link_is_left_out_where_a_label_is_missing() -> None:
    """As in sums over a label."""
    assert list(urls(LINKS.of_group("video", {"cdn": "a"}))) == ["Silence", "Graph"]


def test_an_alert_has_a_value_for_every_name_that_the_configuration_accepts() -> None:
    template = "https://example.org/" + "/".join(f"{{{name}}}" for name in (*NAMES, "region"))
    assert link_fault(template, ["region"]) is None
    (link,) = Links({"All": template}).of_alert("video", {"region": "eu"}, "Poor", "page")
    assert "{" not in link["url"]
    assert "n/a" not in link["url"]
