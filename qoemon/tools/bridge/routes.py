"""The routes of the bridge's HTTP server: metrics and health, no page."""

from __future__ import annotations

from aiohttp import web

from qoemon.outputs.routes import Problems, add_health
from qoemon.tools.bridge.metrics import METRICS_TYPE, BridgeMetrics


def application(metrics: BridgeMetrics, ready: Problems) -> web.Application:
    """The web application; ready: why reports do not reach Kafka, for /readyz."""

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.rendered(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application()
    app.add_routes([web.get("/metrics", exposition)])
    add_health(app, list, ready)
    return app
