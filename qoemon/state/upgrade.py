"""Converts states of earlier versions to the current one.

Version 1 has windows, totals and distinct users in the state of each shard. Version 2 has them once, in the state
of the evaluation, so that shards count in integers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Ints, named, part

Groups = list[list[str]]


def upgrade(state: Mapping[str, NDArray[Any]]) -> Arrays:
    """The state of a process with all sessions, converted to the current version."""
    return dict(state) if not state or "evaluation/meta" in state else {**state, **evaluation_state([state])}


def evaluation_state(
    shards: Sequence[Mapping[str, NDArray[Any]]], groups: Mapping[str, Groups] | None = None
) -> Arrays:
    """The state of the evaluation in the current version, from the states of version 1 of all shards.

    groups  by service, label values in the order of their numbers (default: those of the first shard)
    raises  KeyError or ValueError if a state is incomplete
    """
    parts = [part("monitor/", state) for state in shards]
    metas = [json.loads(each["meta"].tobytes()) for each in parts]
    groups = {name: list(some) for name, some in (groups or metas[0]["groups"]).items()}
    meta = {"version": 3, "plan": metas[0]["plan"], "groups": groups}
    totals = {
        number: {
            "events": meta_of["events"],
            "rejected": json.loads(state["rejected"].tobytes()),
            "closed_s": _closed_s(meta_of),
        }
        for number, (meta_of, state) in enumerate(zip(metas, shards, strict=True))
    }
    state: Arrays = {"meta": _json(meta), "shards": _json(totals), "lost": _json({})}
    for name in metas[0]["groups"]:
        merged = _Service(name, groups.setdefault(name, []))
        for meta_of, arrays in zip(metas, parts, strict=True):
            if name in meta_of["groups"]:
                merged.add(part(f"{name}/", arrays), meta_of)
        state |= named(f"{name}/", merged.arrays())
    state["meta"] = _json(meta)  # the shards may have groups without a number
    return named("evaluation/", state)


class _Service:
    """Windows and totals of one service, added up over shards."""

    def __init__(self, name: str, groups: Groups) -> None:
        self._name, self._groups = name, groups
        self._cells: dict[int, list[tuple[Ints, Ints]]] = {}
        self._users: dict[int, list[tuple[Ints, Ints]]] = {}
        self._totals: dict[str, list[tuple[Ints, NDArray[Any]]]] = {}

    def add(self, shard: Arrays, meta: Mapping[str, Any]) -> None:
        for labels in meta["groups"][self._name]:
            if labels not in self._groups:
                self._groups.append(labels)
        numbers = np.array([self._groups.index(labels) for labels in meta["groups"][self._name]], np.int64)
        _, interval_s, windows_s, *_ = meta["plan"]["timing"]
        for name, counts in part("totals/", shard).items():
            self._totals.setdefault(name, []).append((numbers[: len(counts)], counts))
        closed_s, longest = _closed_s(meta), part(f"window-{max(windows_s)}/", shard)
        if closed_s is None or not longest:
            return
        bins = shard["base/levels"].shape[1]
        ends = np.cumsum(longest["sizes"])[:-1]
        cells = np.split(longest["cells"].astype(np.int64), ends)
        counts_of = np.split(longest["counts"].astype(np.int64), ends)
        for ago, (some, number) in enumerate(zip(reversed(cells), reversed(counts_of), strict=True)):
            if ago < len(longest["sizes"]):
                moved = numbers[some // bins] * bins + some % bins
                self._cells.setdefault(closed_s - ago * interval_s, []).append((moved, number))
        for ago, users in enumerate(reversed(shard["users/newest"])):
            self._users.setdefault(closed_s - ago * interval_s, []).append((numbers[: len(users)], users))

    def arrays(self) -> Arrays:
        """The arrays of Merger.dump()."""
        size, ends_s = len(self._groups), sorted(self._cells)
        intervals = [_added(self._cells[end_s]) for end_s in ends_s]
        users = np.zeros((len(ends_s), size), np.int64)
        for row, end_s in enumerate(ends_s):
            for numbers, sessions in self._users.get(end_s, []):
                np.add.at(users[row], numbers, sessions)
        windows = {
            "end_s": np.array(ends_s, np.int64),
            "sizes": np.array([len(cells) for cells, _ in intervals], np.int64),
            "cells": np.concatenate([*(cells for cells, _ in intervals), np.zeros(0, np.int64)]),
            "counts": np.concatenate([*(counts for _, counts in intervals), np.zeros(0, np.int64)]),
            "users": users,
        }
        totals = {}
        for name, parts in self._totals.items():
            totals[name] = np.zeros((size, *parts[0][1].shape[1:]), parts[0][1].dtype)
            for numbers, counts in parts:
                np.add.at(totals[name], numbers, counts)
        return named("windows/", windows) | named("totals/", totals)


def _added(parts: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """The distinct cells, ascending, and their summed counts."""
    cells, index = np.unique(np.concatenate([cells for cells, _ in parts]), return_inverse=True)
    counts = np.zeros(len(cells), np.int64)
    np.add.at(counts, index, np.concatenate([counts for _, counts in parts]))
    return cells, counts


def _closed_s(meta: Mapping[str, Any]) -> int | None:
    """The end of the newest rating interval that a shard has closed, seconds since the epoch."""
    tick_s, interval_s, *_ = meta["plan"]["timing"]
    return None if meta["tick"] is None else int(meta["tick"] * tick_s // interval_s * interval_s)


def _json(of: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(of).encode(), np.uint8)
