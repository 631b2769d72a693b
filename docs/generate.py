"""Write the generated pages and draw the figures: `make docs`. Tests check that both are up to date.

metrics.md is made from what the daemon exports, configuration.md from the schema, figures from the core and from a
study; in sizing.md the tables of a machine and a cluster are made from measured figures. The schema of the Helm
chart's values is written, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import Metric

from config.helm import generate
from docs import cluster, example, machine
from docs.configuration import configuration_page
from docs.measured import with_table
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.alerting.detector import Detections
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.daemon.metrics import initial_metrics
from qoemon.net.kafka.producer import ProducerStats
from qoemon.outputs.metrics.alerts import detection_families
from qoemon.outputs.metrics.qoe import qoe_families
from qoemon.outputs.metrics.roll_ups import roll_up_families
from qoemon.tools.bridge.metrics import kafka_metrics
from qoemon.tools.paper import figures

DOCS = Path(__file__).parent

_HEAD = """\
# Metrics

Written by `make docs` from the code. *group* stands for `service` and the group's labels: those of the topics, and
those named in the configuration's `labels`. `window` reads like `1m`, `5m`, `1h`; the base window is the rating
interval.

- A group without observations in a window has no sample there: an empty window is neither good nor bad.
- A group that has been empty for the longest window disappears; its counters stay until it has been silent for
  `limits.group_idle`, also over a restart with state. Then a new group can have its place. If it returns, its
  counters begin at 0.
- The counters and histograms of a new group are 0 for a rating interval and a tick. What they count in that time is
  added afterwards. So `increase()` has a group's first ratings, too, if Prometheus scrapes at least once in a
  rating interval.
- GoB and PoW gauges can't be averaged over groups or time. Add up `qoemon_expected_ratings_total`, then divide:
  users answer in proportion to their number, so that is exact.
- Never add up services: a rating of a video and of a page are not the same.

```promql
sum by (service) (rate(qoemon_expected_ratings_total{rating=~"4|5"}[1h]))
  / sum by (service) (rate(qoemon_expected_ratings_total[1h]))
```

`qoemon_pow_contribution` divides the poor ratings that good conditions would avoid among the factors: its sum over
`factor` is PoW minus the PoW of the best condition. It is the Shapley value of each factor: what the factor adds to
PoW, averaged over all orders in which factors could be added. In a total outage, nearly all of PoW is `stall_time`.

`qoemon_stall_count` counts stalls per minute of the session's own time, playing or stalling: a session that stands
still has one stall. Ratings use stalls per minute of media, as their mapping does.
"""

_ROLL_UPS = """
## Roll-ups

[Sums of groups](roll-ups.md) over all labels but some. `by` names the labels that remain, such as `cdn` or
`region,cdn`, and each of them is a label of the metric, too; `by="service"` is the sum over all groups of a
service. `where` is there only for sums of a selection, of a rule with `by` and `groups`, such as
`where="region=eu"`. The names differ from those of the groups, so that `sum()` over groups counts nobody twice.
"""

_BRIDGE = """
## The bridge

`qoemon bridge` has the metrics of the daemon's inputs, inbox and HTTP server, and these; as well as
`qoemon_bridge_delivery_seconds`, a histogram of how long Kafka took to store a record, and `process_*`.

"""

_PROCESS = """
Beside these there are `qoemon_tick_seconds`, a histogram of how long a tick took, evaluation and rendering
together, and the usual `process_*` metrics: CPU seconds, memory, open files.
"""


def metrics_page() -> str:
    """Text of metrics.md."""
    plan = core_plan(Config())
    (empty, _), group = new_evaluation(Config()).tick([ShardPipeline(plan).tick(0)]), ("service", *plan.labels)
    users = _table(qoe_families(empty), group)
    watched = _table(detection_families(empty, Detections((), {}, {})), group)
    sums = _table(roll_up_families(empty, Detections((), {}, {})), ())
    daemon = _table(initial_metrics(), ())
    bridge = _table(kafka_metrics(ProducerStats(), 0), ())
    groups = f"## Users\n\n{users}\n## Alerts and regimes\n\n{watched}"
    return f"{_HEAD}\n{groups}{_ROLL_UPS}\n{sums}\n## The daemon\n\n{daemon}{_PROCESS}{_BRIDGE}{bridge}"


def sizing_page() -> str:
    """Text of sizing.md: what is there, with tables from the newest figures."""
    page = with_table((DOCS / "sizing.md").read_text("utf-8"), machine.MARKS, "last.json", machine.table)
    return with_table(page, cluster.MARKS, "cluster.json", cluster.table)


def pages() -> dict[str, str]:
    """Text of each generated page, by file name."""
    return {
        "metrics.md": metrics_page(),
        "configuration.md": configuration_page(),
        "sizing.md": sizing_page(),
    }


def _table(metrics: Iterable[Metric], group: tuple[str, ...]) -> str:
    rows = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    rows += [_row(metric, group) for metric in metrics]
    return "\n".join(rows) + "\n"


def _row(metric: Metric, group: tuple[str, ...]) -> str:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    names = tuple(getattr(metric, "_labelnames", ()))
    if group and names[: len(group)] == group:
        labels = ", ".join(["*group*", *(f"`{label}`" for label in names[len(group) :])])
    else:
        labels = ", ".join(f"`{label}`" for label in names)
    return f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |"


def main() -> None:
    """Write all pages and figures."""
    for name, text in pages().items():
        (DOCS / name).write_text(text)
    (generate.CHART / "values.schema.json").write_text(generate.values_schema())
    figures.draw(DOCS / "figures")
    example.draw(DOCS / "figures")


if __name__ == "__main__":
    main()
