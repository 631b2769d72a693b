"""An alert as the page shows it, in its table and in the list of its group: with the same times in both."""

from __future__ import annotations

from typing import Any

from qoemon.core.alerting.alerts import Alert
from qoemon.outputs.page.links import Links
from qoemon.outputs.snapshot_json import alert_document


def alert_row(alert: Alert, links: Links) -> dict[str, Any]:
    """The state of the alert, when the breach began and when it fired, and its links."""
    document = alert_document(alert)
    rule = alert.rule
    return document | {
        "began_s": began_s(alert),
        "fired_s": alert.decision.since_s if alert.firing else None,
        "links": links.of_alert(rule.service, document["labels"], rule.name, rule.severity),
    }


def began_s(alert: Alert) -> int:
    """Since when the value has been past the threshold; of an uncertain alert, since when it is uncertain."""
    breach_since_s = alert.decision.breach_since_s
    return alert.decision.since_s if breach_since_s is None else breach_since_s
