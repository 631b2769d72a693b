"""The options of a pair, from its section of the configuration."""

from __future__ import annotations

from qoemon.config.sections.pair import Pair
from qoemon.outputs.notify.http_client import Address
from qoemon.outputs.notify.login import login_of
from qoemon.outputs.pair.pair import PairOptions
from qoemon.outputs.pair.standing import PATH


def pair_options(section: Pair, tick_s: int) -> PairOptions:
    """Options of a pair; tick_s: seconds from tick to tick."""
    return PairOptions(
        name=section.name,
        topic=section.topic,
        lease_s=section.lease_s,
        peer=Address(section.peer.url + PATH, section.peer.ca_file),
        login=login_of(section.peer),
        tick_s=tick_s,
    )
