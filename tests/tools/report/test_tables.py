"""Tables of the report."""

from __future__ import annotations

from qoemon.tools.report.episodes import AlertLog
from qoemon.tools.report.tables import fired_table
from tests.support.cube import Cube, many_poor, nobody


def test_an_alert_on_sums_has_all_in_the_columns_of_other_labels() -> None:
    log, cube = AlertLog(), Cube(many_poor(by=("cdn",)), regions=("eu", "us"), cdns=("a", "b"), viewers=40)
    for hit in (nobody, lambda _, cdn: cdn == "b"):
        log.observe(cube.minute(hit).detections.alerts, cube.at_s)
    table = fired_table(log.fired, ("region", "cdn"), cube.at_s, "Alerts")
    (row,) = table.rows
    assert len(row) == len(table.columns)
    assert dict(zip(table.columns, row, strict=True))["users"] == "80"
    assert row[2:5] == ("video", "(all)", "b")
