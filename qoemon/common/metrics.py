"""What a part that counts gives to the exporter."""

from collections.abc import Iterable

from prometheus_client.core import Metric

Families = Iterable[Metric]
