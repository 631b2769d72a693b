"""Service and labels of messages, from their topics and paths."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from qoemon.core.plan.plan import Plan
from qoemon.core.plan.topic import SERVICE
from qoemon.core.wire.escape import escape_label
from qoemon.core.wire.message import Kind
from qoemon.core.wire.report import Reject, RejectedError, Route

REMEMBERED = 65_536


class Routes:
    """Matches topics and paths to the templates of a plan. Its only state is a bounded cache."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._longest = plan, plan.limits.label_length
        self._services = {service.name for service in plan.services}
        self._known: dict[tuple[str, bool], Route] = {}

    def of(self, topic: str, kind: Kind) -> Route:
        """The route of messages with this topic, or path; RejectedError if it belongs to no service."""
        return self._known.get((topic, kind is Kind.MQTT)) or self._found(topic, kind)

    def with_labels(self, route: Route, more: Mapping[str, str]) -> Route:
        """The route, with labels of the payload where the topic has none; RejectedError if one is too long."""
        named = zip(self._plan.labels, route.labels, strict=True)
        return Route(route.service, tuple(value or self._label(more.get(name, "")) for name, value in named))

    def _found(self, topic: str, kind: Kind) -> Route:
        templates = self._plan.topics if kind is Kind.MQTT else self._plan.paths
        found = next((match for template in templates if (match := template.match(topic))), {})
        if kind is not Kind.MQTT:
            found = {name: unquote(value) for name, value in found.items()}
        service = found.get(SERVICE)
        if service not in self._services:
            known = ", ".join(sorted(self._services))
            raise RejectedError(Reject.UNKNOWN_SERVICE, f"names none of the services {known}")
        route = Route(service, tuple(self._label(found.get(name, "")) for name in self._plan.labels))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        return self._known.setdefault((topic, kind is Kind.MQTT), route)

    def _label(self, value: str) -> str:
        """The escaped label value: all names from the wire pass through here."""
        if len(value) > self._longest:
            detail = f"a label has {len(value)} characters, at most {self._longest} are accepted"
            raise RejectedError(Reject.TOO_LARGE, detail)
        return escape_label(value)
