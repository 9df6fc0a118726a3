"""The profiler: what ran, how often, for how long; as a table and as a chrome trace.

The one idea: torch's profiler sees every kernel, so it does the measuring; here are the compatible switches
(`set_config`, `set_state`, `dump`, `dumps`) and the user's own marks (Task, Frame, Event, Marker, Counter), which
appear in the same trace. Compiled plans open a `span` per call and step, and units of regions when `profile_regions` is
set (executor/insight/spans.py); they hear of starts and stops through `on_change`.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from .base.errors import ArgumentError, MXNetError, explain
from .base.files import write_atomically

__all__ = ["set_config", "set_state", "start", "stop", "dump", "dumps", "pause", "resume", "state", "scope", "span",
           "on_change", "units_wanted", "Domain", "Task", "Frame", "Event", "Counter", "Marker"]

_CONFIG_KEYS = frozenset({"filename", "profile_all", "profile_symbolic", "profile_imperative", "profile_memory",
                          "profile_api",
                          "continuous_dump", "dump_period", "aggregate_stats", "profile_process",
                          "gpu_memory_profile_filename_prefix", "profile_regions"})
_CATEGORIES = {"plan": "Calls of compiled networks", "step": "Steps of compiled networks", "unit": "Units of regions",
               "mark": "Marks", "operator": "Kernels"}  # fmt: skip

_ASCII = str.maketrans({"×": "x", "·": "*", "µ": "u", "–": "-", "…": "..."})


class _State:
    """The running profiler and what has been collected."""

    def __init__(self) -> None:
        self.filename = "profile.json"
        self.memory = False
        self.regions = False
        self.running: Any = None
        self.finished: Any = None
        self.trace: tuple[Any, str] | None = None  # what `dump` read last, and its text: a profiler tells it only once
        self.marks: list[dict[str, Any]] = []
        self.categories: dict[str, str] = {}  # of spans, by name
        self.listeners: list[Callable[[bool], None]] = []


_state = _State()


def on_change(listener: Callable[[bool], None]) -> None:
    """Call `listener(whether the profiler runs)` whenever it starts or stops."""
    _state.listeners.append(listener)


def units_wanted() -> bool:
    """Return whether units of regions are to be spans, too (``set_config(profile_regions=True)``)."""
    return _state.regions


def span(name: str, category: str) -> record_function:
    """Return a context manager for a stretch of the trace.

    category : "plan", "step", "unit" or "mark": where `dumps` lists it
    """
    name = name.translate(_ASCII).encode("ascii", "replace").decode()  # torch's traces know no other letters
    _state.categories[name] = category
    return record_function(name)


def set_config(**kwargs: Any) -> None:
    """Choose the file (``filename='profile.json'``), whether memory is recorded (``profile_memory=True``), and whether
    regions of compiled networks are taken apart into their products and kernels (``profile_regions=True``).

    The other compatible options are accepted; everything that runs is recorded.
    """
    for key in kwargs:
        if key not in _CONFIG_KEYS:
            raise ArgumentError(explain("profiler.set_config", f"There is no option {key!r}.",
                                        expected=", ".join(sorted(_CONFIG_KEYS))))
    _state.filename = kwargs.get("filename", _state.filename)
    _state.memory = bool(kwargs.get("profile_memory", False) or kwargs.get("profile_all", False))
    _state.regions = bool(kwargs.get("profile_regions", False))


def set_state(state: str = "stop", profile_process: str = "worker") -> None:
    """Start ('run') or stop ('stop') recording."""
    if state not in ("run", "stop"):
        raise ArgumentError(explain("profiler.set_state", "Unknown state.", expected="'run' or 'stop'",
                                    received=repr(state)))
    if state == "run" and _state.running is None:
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
        _state.running = profile(activities=activities, profile_memory=_state.memory, record_shapes=True)
        _state.running.__enter__()
        for listener in _state.listeners:
            listener(True)
    elif state == "stop" and _state.running is not None:
        _state.running.__exit__(None, None, None)
        _state.finished, _state.running = _state.running, None
        for listener in _state.listeners:
            listener(False)


def start() -> None:
    """Start recording."""
    set_state("run")


def stop() -> None:
    """Stop recording."""
    set_state("stop")


def state() -> str:
    """Return 'run' or 'stop'."""
    return "stop" if _state.running is None else "run"


def pause(profile_process: str = "worker") -> None:
    """Stop recording for a while."""
    set_state("stop")


def resume(profile_process: str = "worker") -> None:
    """Go on recording (what came before is in the last dump)."""
    set_state("run")


def _collected() -> Any:
    if _state.running is not None:
        set_state("stop")
    if _state.finished is None:
        raise MXNetError(explain("profiler", "Nothing was recorded.",
                                 fix="profiler.set_state('run') before, set_state('stop') after what is measured"))
    return _state.finished


def dump(finished: bool = True, profile_process: str = "worker") -> None:
    """Write the chrome trace (open it in a browser: chrome://tracing or ui.perfetto.dev)."""
    import os
    import tempfile
    collected = _collected()
    if _state.trace is None or _state.trace[0] is not collected:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            collected.export_chrome_trace(path)
            with open(path, encoding="utf-8") as file:
                _state.trace = collected, file.read()
    trace = json.loads(_state.trace[1])
    events = trace.setdefault("traceEvents", [])
    for event in events:
        if event.get("cat") == "user_annotation":
            event["cat"] = _state.categories.get(event["name"], "mark")
    begin = trace.get("baseTimeNanoseconds", 0) / 1e3  # what the trace counts from
    events += [{**mark, "ts": mark["ts"] - begin} for mark in _state.marks]
    write_atomically(_state.filename, json.dumps(trace).encode())


@dataclass(slots=True)
class _Total:
    """What events of one name took. times : microseconds of each; own : without what is inside of them."""

    times: list[float] = field(default_factory=list[float])
    own: float = 0.0


def _totals() -> dict[str, dict[str, _Total]]:
    """Return events by category and name."""
    found: dict[str, dict[str, _Total]] = {}
    for event in _collected().events():
        category = "operator" if not event.is_user_annotation else _state.categories.get(event.name, "mark")
        total = found.setdefault(category, {}).setdefault(event.name, _Total())
        total.times.append(event.cpu_time_total)
        total.own += event.self_cpu_time_total
    return found


_ORDERS: dict[str, Callable[[_Total], float]] = {
    "total": lambda t: sum(t.times), "avg": lambda t: sum(t.times) / len(t.times), "min": lambda t: min(t.times),
    "max": lambda t: max(t.times), "count": lambda t: len(t.times)}  # fmt: skip


def dumps(reset: bool = False, format: str = "table", sort_by: str = "total",
          ascending: bool = False) -> str:
    """Return the statistics by name, calls and steps of compiled networks first, as a table or as JSON text.

    Parameters
    ----------
    reset : whether what was recorded is then forgotten
    format : "table" or "json"
    sort_by : "total", "avg", "min", "max" or "count"
    ascending : the smallest first
    """
    if sort_by not in _ORDERS:
        raise ArgumentError(explain("profiler.dumps", "Unknown order.", expected=", ".join(_ORDERS),
                                    received=repr(sort_by)))
    if format not in ("table", "json"):
        raise ArgumentError(explain("profiler.dumps", "Unknown format.", expected="'table' or 'json'",
                                    received=repr(format)))
    found = _totals()
    listed = [(category, name, total) for category in _CATEGORIES if category in found for name, total in
              sorted(found[category].items(), key=lambda item: _ORDERS[sort_by](item[1]), reverse=not ascending)]
    if format == "json":
        text = json.dumps([{"name": name, "category": category, "count": len(t.times), "total_us": sum(t.times),
                            "self_us": t.own, "min_us": min(t.times), "max_us": max(t.times)}
                           for category, name, t in listed])  # fmt: skip
    else:
        text = _table(listed)
    if reset:
        _state.finished, _state.marks = None, []
    return text


def _table(listed: list[tuple[str, str, _Total]]) -> str:
    lines = ["Profile statistics (times in milliseconds)"]
    before = ""
    for category, name, total in listed:
        if category != before:
            lines += ["", f"{_CATEGORIES[category]:<64}" + "".join(f"{head:>10}" for head in
                                                                  ("count", "total", "self", "min", "avg", "max"))]
            before = category
        times = [sum(total.times), total.own, min(total.times), sum(total.times) / len(total.times), max(total.times)]
        name = name if len(name) <= 61 else name[:60] + "…"
        lines.append(f"  {name:<62}{len(total.times):>10}" + "".join(f"{time / 1e3:>10.3f}" for time in times))
    return "\n".join(lines)


def scope(name: str = "<unk>:", append_mode: bool = True) -> Any:
    """Return a context manager whose contents appear under `name` in the trace."""
    return span(name, "mark")


class Domain:
    """A group of marks."""

    def __init__(self, name: str) -> None:
        self.name = name

    def new_task(self, name: str) -> Task:
        """Return a task of this domain."""
        return Task(name, self)

    def new_frame(self, name: str) -> Frame:
        """Return a frame of this domain."""
        return Frame(name, self)

    def new_counter(self, name: str, value: float | None = None) -> Counter:
        """Return a counter of this domain."""
        return Counter(self, name, value)

    def new_marker(self, name: str) -> Marker:
        """Return a marker of this domain."""
        return Marker(self, name)


class _Span:
    """Something with a start and a stop; also a context manager."""

    def __init__(self, name: str, domain: Domain | None = None) -> None:
        self.name, self.domain = name, domain
        self._open: Any = None

    def start(self) -> None:
        """Begin."""
        self._open = span(self.name if self.domain is None else f"{self.domain.name}::{self.name}", "mark")
        self._open.__enter__()

    def stop(self) -> None:
        """End."""
        if self._open is None:
            raise MXNetError(explain(type(self).__name__, "stop() before start().", received=self.name))
        self._open.__exit__(None, None, None)
        self._open = None

    def __enter__(self) -> _Span:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()


class Task(_Span):
    """A piece of work."""


class Frame(_Span):
    """A repeated unit, such as one batch."""


class Event(_Span):
    """A span without a domain."""


def _now() -> float:
    return time.time_ns() / 1e3


class Counter:
    """A number over time."""

    def __init__(self, domain: Domain, name: str, value: float | None = None) -> None:
        self.domain, self.name, self.value = domain, name, 0.0
        if value is not None:
            self.set_value(value)

    def set_value(self, value: float) -> None:
        """Record a new value."""
        self.value = value
        _state.marks.append({"ph": "C", "name": f"{self.domain.name}::{self.name}", "ts": _now(), "pid": 0,
                             "args": {"value": value}})

    def increment(self, delta: float = 1) -> None:
        """Record the value plus `delta`."""
        self.set_value(self.value + delta)

    def decrement(self, delta: float = 1) -> None:
        """Record the value minus `delta`."""
        self.set_value(self.value - delta)

    def __iadd__(self, delta: float) -> Counter:
        self.increment(delta)
        return self

    def __isub__(self, delta: float) -> Counter:
        self.decrement(delta)
        return self


class Marker:
    """A moment."""

    def __init__(self, domain: Domain, name: str) -> None:
        self.domain, self.name = domain, name

    def mark(self, scope: str = "process") -> None:
        """Record the moment."""
        _state.marks.append({"ph": "i", "name": f"{self.domain.name}::{self.name}", "ts": _now(), "pid": 0,
                             "s": scope[0]})
