"""What `fold.explain()` says is true: counts, least numbers of groups, bytes, reasons with the user's line, pictures.

The one idea: small programs whose groups can be counted by hand, one for each reason; the least number of groups is
compared with a search written the slow way. Lines of this file are found by the marks at their end.

Not here: whether values are right (test_oracle.py, test_bug_classes.py).
"""

from __future__ import annotations

import gc
import random
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import MXNetError
from glueball.fold import explain as explain_function
from glueball.fold.reasons import Reason

nn = gluon.nn
H = 3
EXPLAIN = __import__("sys").modules["glueball.fold.explain"]


def line(mark: str) -> str:
    """Return file:line of the line of this file that ends in a mark."""
    found = [i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith(f"# {mark}")]
    assert len(found) == 1
    return f"{__file__}:{found[0]}"


def layer(units: int = H, prefix: str = "layer_") -> Any:
    """Return a layer that works row by row."""
    made = nn.Dense(units, in_units=H, flatten=False, prefix=prefix)
    made.initialize()
    return made


def rows(count: int) -> list[Any]:
    """Return arrays from outside."""
    return [nd.array([[float(i)] * H]) for i in range(count)]


def only(code: str) -> Reason:
    """Return the only reason with a code; the text says it too."""
    found = [reason for reason in fold.last_report().reasons if reason.code == code]
    assert len(found) == 1, fold.explain()
    assert found[0].what in fold.explain()
    assert found[0].advice in fold.explain()
    return found[0]


def test_function_and_module() -> None:
    """The package's `explain` is the function, whatever was imported before."""
    assert fold.explain is explain_function
    assert callable(explain_function)


# -- numbers -----------------------------------------------------------------------------------------------------------
def test_numbers_of_two_layers() -> None:
    """Five samples, one of them deeper: counts, widths and bytes as counted by hand."""
    net, xs = layer(), rows(5)
    with fold.batching() as scope:
        states = [net(x) for x in xs]
        states[4] = net(net(states[4]))
    report = fold.last_report()
    assert (report.calls, report.groups, report.lower_bound, report.widths) == (7, 3, 3, [5, 1, 1])
    assert report.efficiency == 1.0
    assert (report.copied, report.viewed) == (0, 7 * H * 4)
    (facts,) = report.kinds
    assert (facts.calls, facts.groups, facts.widths, facts.chain) == (7, 3, [5, 1, 1], 3)
    assert report.hoisted == 0
    assert len(report.flushes) == 1
    assert scope.explain(times=False) == report.text(times=False)


def test_copied_and_viewed() -> None:
    """Arguments that lie in another order are copied, those in order are not."""
    xs = rows(4)
    with fold.batching():
        first = [nd.tanh(x) for x in xs]
        [nd.sigmoid(x) for x in reversed(first)]
    report = fold.last_report()
    assert (report.copied, report.viewed) == (4 * H * 4, 4 * H * 4)
    by_name = {facts.signature.name: facts for facts in report.kinds}
    assert (by_name["sigmoid"].copied, by_name["tanh"].viewed) == (48, 48)


def test_hoisted_part() -> None:
    """The part of a cell that sees only its input is named and runs once."""

    class Cell(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__(prefix="cell_")
            with self.name_scope():
                self.of_x, self.of_h = layer(prefix="x_"), layer(prefix="h_")

        def hybrid_forward(self, F: Any, x: Any, h: Any) -> Any:
            return F.tanh(self.of_x(x) + self.of_h(h))

    cell = Cell()
    cell.hybridize()
    xs = rows(4)
    with fold.batching():
        h = nd.tanh(xs[0])
        for x in xs:
            h = cell(x, h)
    report = fold.last_report()
    assert (report.groups, report.lower_bound, report.hoisted) == (5, 5, 1)
    assert "ahead, for all 4 calls at once: FullyConnected" in fold.explain()


@pytest.mark.parametrize("seed", range(6))
def test_lower_bound_is_the_longest_chain(seed: int) -> None:
    """On random graphs the bound is what a search over all paths finds, per kind of call, added up."""
    chance = random.Random(seed)
    names = ["tanh", "sigmoid", "relu", "broadcast_add"]
    nodes: list[tuple[str, list[int]]] = []
    with fold.batching():
        values = [nd.tanh(x) for x in rows(2)]
        nodes += [("tanh", []), ("tanh", [])]
        for _ in range(40):
            name = chance.choice(names)
            read = [chance.randrange(len(values)) for _ in range(1 + (name == "broadcast_add"))]
            given = [values[i] for i in read]
            values.append(given[0] + given[1] if len(given) == 2 else getattr(nd, name)(given[0]))
            nodes.append((name, read))
    total = 0
    for name in names:
        longest: list[int] = []
        for own, read in nodes:
            longest.append(max([longest[i] for i in read], default=0) + (own == name))
        total += max(longest)
    report = fold.last_report()
    assert report.lower_bound == total
    assert report.calls == len(nodes)
    assert report.groups >= total
    assert sum(report.widths) == report.calls


def test_times_are_those_of_the_scope() -> None:
    """Phases are not negative and make up the life of the scope."""
    net, xs = layer(), rows(8)
    with autograd.record(), fold.batching():
        total = nd.add_n(*[net(net(x)).sum() for x in xs])
    report = fold.last_report()
    assert report.seconds["backward"] == 0.0
    total.backward()
    seconds = report.seconds
    assert all(value >= 0 for value in seconds.values()), seconds
    assert seconds["backward"] > 0
    life = sum(value for phase, value in seconds.items() if phase != "backward")
    assert life == pytest.approx(report.closed - report.opened, rel=0.02)
    spent = sum(facts.gathering + facts.computing for facts in report.kinds)
    assert spent <= seconds["gathering"] + seconds["computing"] + 1e-9
    assert sum(facts.backward for facts in report.kinds) <= seconds["backward"]


def test_a_report_keeps_no_values() -> None:
    """A report outlives its scope; the rows of the values do not."""
    with fold.batching() as scope:
        values = [nd.tanh(x) for x in rows(3)]
        store = weakref.ref(values[0].folder.engine.store)
    report = fold.last_report()
    del values, scope
    gc.collect()
    assert store() is None
    assert report.calls == 3


def test_nothing_was_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a scope there is nothing to say."""
    monkeypatch.setattr(EXPLAIN, "_last", [])
    with pytest.raises(MXNetError, match="Nothing has been folded"):
        fold.explain()
    with fold.batching():
        pass
    assert fold.explain(times=False).startswith("0 calls of 0 kinds ran as 0 groups")


# -- reasons -----------------------------------------------------------------------------------------------------------
def test_different_weights() -> None:
    """R1: two layers side by side."""
    one, other, xs = layer(prefix="one_"), layer(prefix="other_"), rows(4)
    with fold.batching():
        _ = [one(x) for x in xs]
        _ = [other(x) for x in xs[:3]]  # weights
    found = only("R1")
    assert found.where == line("weights")
    assert found.cost == 1
    assert "7 calls of one and other" in found.what


def test_layers_one_after_the_other_are_no_reason() -> None:
    """Two layers in a row could not run together in any case."""
    one, other = layer(prefix="one_"), layer(prefix="other_")
    with fold.batching():
        _ = [other(one(x)) for x in rows(4)]
    assert fold.last_report().reasons == []


def test_different_shapes() -> None:
    """R2: as many columns as the sample is long; the axis is named."""
    with fold.batching():
        for length in (2, 3, 4):
            nd.softmax(nd.ones((2, length)))  # shapes
    found = only("R2")
    assert found.where == line("shapes")
    assert found.cost == 2
    assert "axis 1 differs" in found.what


def test_numbers_of_children() -> None:
    """R2: children that are not treated alike, with the reason why a list of them is not one argument."""

    class Weighted(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, hs: Any) -> Any:
            total = hs[0]
            for place, h in enumerate(hs):
                total = total * 0.5 + h * (place + 1)
            return total

    cell = Weighted(prefix="weighted_")
    cell.hybridize()
    with fold.batching():
        xs = [nd.tanh(x) for x in rows(4)]
        _ = [cell(xs[:count]) for count in (2, 3, 4, 2)]  # children
    found = only("R2")
    assert found.where == line("children")
    assert found.cost == 2
    assert "each number of children is a kind of its own, because" in found.what


def test_no_batching_rule() -> None:
    """R3: an operator whose result has as many rows as its values say."""
    with fold.batching():
        nd.contrib.boolean_mask(nd.ones((2, H)), nd.array([1, 0]))  # mask
    found = only("R3")
    assert found.where == line("mask")
    assert "the shape of its result depends on values" in found.what


def test_operators_without_a_rule_within_a_group() -> None:
    """R3: recorded and grouped, and yet run sample by sample."""
    xs = rows(4)
    with fold.batching():
        _ = [nd.contrib.allclose(x, x) for x in xs]  # compared
    found = only("R3")
    assert found.where == line("compared")
    assert found.cost == 3
    assert "ran sample by sample, 4 times" in found.what
    assert "runs one by one: _contrib_allclose" in fold.explain()


def test_axis_0_of_a_sequence() -> None:
    """R2: a recurrent layer wants sequences of one length."""
    net = gluon.rnn.LSTM(4, input_size=H)
    net.initialize()
    with fold.batching():
        _ = [net(nd.ones((length, 1, H))) for length in (2, 3, 2)]  # lengths
    found = only("R2")
    assert found.where == line("lengths")
    assert "(2, 1, 3) and (3, 1, 3); axis 0 differs" in found.what
    assert "row by row" in found.advice


def test_static_arguments() -> None:
    """R4: a number that is another one each time."""
    with fold.batching():
        for bound, x in enumerate(rows(3)):
            x.clip(0, bound)  # static
    found = only("R4")
    assert found.where == line("static")
    assert found.cost == 2
    assert "clip has a_max=" in found.what
    assert fold.explain().count("clip (1, 3) a_max=") == 3


def test_a_value_is_read() -> None:
    """R5: one flush per sample, where one would do for all; that is no chain."""
    with fold.batching():
        for x in rows(5):
            float(nd.tanh(x).sum())  # read
    found = only("R5")
    assert found.where == line("read")
    assert "a value is read: 5 times" in found.what
    assert found.cost == 8
    report = fold.last_report()
    assert (report.groups, len(report.flushes)) == (10, 5)
    assert {reason.code for reason in report.reasons} == {"R5"}


def test_a_chain() -> None:
    """R6: one sample, one step after the other."""
    net = layer()
    with fold.batching():
        x = rows(1)[0]
        for _ in range(6):
            x = net(x)  # chain
    found = only("R6")
    assert found.where == line("chain")
    assert "6 calls of layer ran as 6 groups" in found.what


def test_statistics_of_a_batch() -> None:
    """R7: BatchNorm in train mode, which was asked for sample by sample."""
    norm, xs = nn.BatchNorm(in_channels=H), [nd.ones((2, H)), nd.ones((2, H)) * 2]
    norm.initialize()
    with autograd.record(), fold.batching(statistics="sample"):
        _ = [norm(x) for x in xs]  # statistics
    found = only("R7")
    assert found.where == line("statistics")
    assert "ran sample by sample, 2 times" in found.what


def test_random_numbers() -> None:
    """R8: numbers out of nothing."""
    with fold.batching():
        _ = [nd.random.normal(shape=(1, H)) + x for x in rows(3)]  # random
    found = only("R8")
    assert found.where == line("random")


def test_random_numbers_in_a_unit() -> None:
    """R8: a block that draws noise of a fixed shape for each sample."""

    class Noisy(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return x + F.random.normal(shape=(1, H))

    net, xs = Noisy(), rows(3)
    net.hybridize()
    with fold.batching():
        _ = [net(x) for x in xs]  # noise
    found = only("R8")
    assert found.where == line("noise")
    assert "ran sample by sample, 3 times: each sample draws its own random numbers" in found.what


def test_dtypes_and_modes() -> None:
    """R9: the same in another precision; the same in train mode."""
    xs = rows(3)
    with fold.batching():
        _ = [nd.tanh(x) for x in xs]
        _ = [nd.tanh(x) for x in [x.astype("float64") for x in xs[:2]]]  # precision
    found = only("R9")
    assert found.where == line("precision")
    assert "dtype of argument 1 is float32 here, float64 there" in found.what
    with fold.batching():
        _ = [nd.tanh(x) for x in xs]
        with autograd.train_mode():
            _ = [nd.tanh(x) for x in xs[:2]]  # mode
    found = only("R9")
    assert found.where == line("mode")
    assert "train mode is False here, True there" in found.what


def test_a_tail() -> None:
    """R10: one sample is much deeper than all others."""
    net = layer()
    with fold.batching():
        for depth in [2] * 16 + [9]:
            x = nd.ones((1, H))
            for _ in range(depth):
                x = net(x)  # tail
    found = only("R10")
    assert found.where == line("tail")
    assert "the last 7 of 9 groups" in found.what


def test_not_hybridized() -> None:
    """R11: a block whose operators are calls of their own; hybridized it is one call, and the reason is gone."""

    class Cell(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__(prefix="cell_")
            with self.name_scope():
                self.inner = layer(prefix="inner_")

        def hybrid_forward(self, F: Any, x: Any) -> Any:  # cell
            y = F.tanh(self.inner(x))
            return y * y + x

    cell, xs = Cell(), rows(4)
    with fold.batching():
        folded = [cell(x) for x in xs]
    found = only("R11")
    assert found.where == line("cell")
    assert found.advice == "hybridize Cell: 16 calls -> 4"
    assert found.cost == fold.last_report().groups - 1
    cell.hybridize()
    with fold.batching():
        again = [cell(x) for x in xs]
    assert (fold.last_report().calls, fold.last_report().reasons) == (4, [])
    assert all((a == b).asnumpy().all() for a, b in zip(folded, again))


def test_a_block_that_cannot_be_one_unit() -> None:
    """R11: it is hybridized, and somebody wants to see what goes through it."""

    class Watched(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.tanh(x) * 2

    block, seen = Watched(), []
    block.hybridize()
    block.register_forward_hook(lambda *given: seen.append(given))
    with fold.batching():
        _ = [block(x) for x in rows(3)]
    assert len(seen) == 3
    found = only("R11")
    assert found.what == "Watched is hybridized, but its operators ran as calls of their own: it has forward hooks"


def test_samples_that_wait_are_counted() -> None:
    """A map flushes when all samples wait; that is said, and is no fault."""

    def grow(x: Any) -> Any:
        while float(x.sum()) < 10:
            x = x + 1
        return x

    fold.map(grow, rows(3))
    assert "x all samples of a map waited for values:" in fold.explain()
    assert not [reason for reason in fold.last_report().reasons if reason.code == "R5"]


# -- text and picture --------------------------------------------------------------------------------------------------
GOLDEN = """\
7 calls of 2 kinds ran as 4 groups; the least possible is 4 (100%).
A group ran 1.8 calls on average, 4 at most.
Arguments: 48 B copied together, 72 B read where they lay.

Kinds of calls                                      calls   groups    least     mean   widest   copied   viewed
  layer (1, 3)                                          6        3        3      2.0        4      0 B     72 B
      first at FILE
  add_n [(1, 3)...]                                     1        1        1      1.0        1     48 B      0 B
      first at FILE
  How steps run
      linear: one matrix product for all rows; its weight's gradient is computed once, at the end
      children: sums and the like over the children of each node"""


def test_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a small program, line by line; times are left out."""
    net, xs = layer(), rows(4)
    with fold.batching():
        states = [net(x) for x in xs]
        states[0] = net(net(states[0]))
        nd.add_n(*states)
    monkeypatch.chdir(Path(__file__).parent)
    text = fold.explain(times=False).splitlines()
    expected = GOLDEN.splitlines()
    assert [t.split("first at")[0] for t in text] == [e.split("first at")[0] for e in expected]
    assert all("first at test_explain.py:" in t for t, e in zip(text, expected) if "FILE" in e)
    timed = fold.explain()
    assert "Time: recording " in timed
    assert "gather" in timed.splitlines()[5]


def boxes(path: Path, name: str) -> Iterator[ElementTree.Element]:
    """Yield the rectangles of a class in an SVG."""
    for element in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}rect"):
        if element.get("class") == name:
            yield element


def test_a_picture_has_a_box_for_each_group(tmp_path: Path) -> None:
    """The SVG is well-formed XML; boxes lie in the picture and one behind the other."""
    net, xs = layer(prefix="a<b>&_"), rows(6)
    with autograd.record(), fold.batching():
        total = nd.add_n(*[net(net(x)).sum() for x in xs])
        total.asscalar()
        nd.tanh(total)
    total.backward()
    report = fold.last_report()
    fold.draw(tmp_path / "schedule.svg")
    found = list(boxes(tmp_path / "schedule.svg", "group"))
    assert len(found) == report.groups
    begins = [float(box.get("x", "nan")) for box in found]
    assert begins == sorted(begins)
    assert all(320 <= x <= 1200 for x in begins)
    assert "a<b>&: 6 calls" in "".join(found[0].itertext())
    assert len(list(boxes(tmp_path / "schedule.svg", "backward"))) >= 3
    words = "".join(ElementTree.parse(tmp_path / "schedule.svg").getroot().itertext())
    assert f"{report.calls} calls ran as {report.groups} groups" in words
    assert f"a value is read at {Path(__file__).name}" in words


def test_a_picture_of_many_kinds(tmp_path: Path) -> None:
    """More kinds than rows: the others share one."""
    with fold.batching():
        for bound, x in enumerate(rows(40)):
            x.clip(0, bound)
    fold.last_report().draw(tmp_path / "many.svg")
    assert len(list(boxes(tmp_path / "many.svg", "group"))) == 40
    assert "16 other kinds" in (tmp_path / "many.svg").read_text()
    assert "and 16 more kinds: 16 calls in 16 groups" in fold.explain()


def test_a_png(tmp_path: Path) -> None:
    """With matplotlib the same is drawn as pixels."""
    pytest.importorskip("matplotlib")
    with fold.batching():
        _ = [nd.tanh(x) for x in rows(3)]
    fold.draw(str(tmp_path / "schedule.png"))
    assert (tmp_path / "schedule.png").read_bytes().startswith(b"\x89PNG")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    """The ending says how to draw."""
    with fold.batching():
        _ = [nd.tanh(x) for x in rows(3)]
    with pytest.raises(MXNetError, match=r"\.svg or \.png"):
        fold.draw(tmp_path / "schedule.pdf")
    assert list(tmp_path.iterdir()) == []


def test_time_of_a_flush_that_failed_ends_with_it() -> None:
    """What is recorded behind it, and later flushes, are no part of its time."""
    net = layer()
    with fold.batching() as scope:
        late = net(nd.ones((1, H)))
        held, net.weight._data = net.weight._data, {}
        with pytest.raises(MXNetError):
            late.asnumpy()
        net.weight._data = held
        time.sleep(0.02)
        net(nd.ones((1, H))).asnumpy()
    seconds = fold.last_report().seconds
    assert scope.mode == "on" and seconds["recording"] >= 0.02, seconds
