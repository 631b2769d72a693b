"""Links from an alert or a group to other tools, from the templates of the configuration.

Label values come from clients: every value is percent-encoded as a whole, so it stays within its part of the URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from qoemon.common.template import placeholders, render


@dataclass(frozen=True)
class Links:
    """Makes links. templates: URLs with names in braces, by the name of the link.

    A group has those whose names all have a value: not those that name an alert.
    """

    templates: Mapping[str, str]

    def of_group(self, service: str, labels: Mapping[str, str]) -> list[dict[str, str]]:
        """The links of a group, each with its name and url."""
        return self._filled(_group_values(service, labels))

    def of_alert(self, service: str, labels: Mapping[str, str], alert: str, severity: str) -> list[dict[str, str]]:
        """The links of an alert of a group."""
        matchers = _matchers([("alertname", alert), ("service", service), *labels.items()])
        return self._filled(
            _group_values(service, labels) | {"alert": alert, "severity": severity, "matchers": matchers}
        )

    def _filled(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        encoded = {name: quote(value, safe="") for name, value in values.items()}
        return [
            {"name": name, "url": render(template, encoded)}
            for name, template in self.templates.items()
            if placeholders(template) <= encoded.keys()
        ]


NO_LINKS = Links({})


def _group_values(service: str, labels: Mapping[str, str]) -> dict[str, str]:
    matchers = _matchers([("service", service), *labels.items()])
    return {"service": service, "selector": matchers, "matchers": matchers, **labels}


def _matchers(labels: Sequence[tuple[str, str]]) -> str:
    """Matchers of Prometheus and Alertmanager: name="value", separated by commas."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
