"""A Tree-LSTM reads Python: one operator of a piece of code is hidden; which one did the author write?

The data are real and need no download: the standard library of the Python that runs this, as syntax trees (`ast`).
Every tree has another shape, so no two samples can simply be stacked. `CodeReader` below is the program of ONE tree, an
ordinary recursion; `with fold.batching():` is all that makes whole batches of trees run as a few large kernels.

What the figures are compared with: always saying the most frequent operator, and two linear models that see the same
nodes without the tree (a bag of nodes, and a bag of pairs of a node and the node above it). Trees to be tested on come
from files that were not trained on. Run: python examples/tree_lstm_code.py [--epochs 4] [--plot curve.png] [--smoke]
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from demo import bar

import glueball as mx
from glueball import autograd, fold, gluon, nd
from glueball.gluon import nn

OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Mod: "%", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=",
    ast.Gt: ">", ast.GtE: ">=", ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
CLASSES = list(OPERATORS.values())
HIDDEN = "?"  # what stands in the tree for the operator to be guessed
SMALLEST, LARGEST, PER_FILE = 8, 40, 100  # nodes of a piece of code; pieces taken from one file
BATCH, EPOCHS = 64, 3


# ------------------------------------------------------------------------------------------------------------- the data
@dataclass
class Piece:
    """Some statements as a tree with a hidden operator.

    words, roles : for each node what it is, and what to the node above it ("left", "body", ...); node 0 is the root
    parents : for each node the number of the node above it, -1 for the root; a parent comes before its children
    label : the hidden operator, as an index into CLASSES
    operation : the syntax tree of the operation itself, to be shown
    """

    words: list[str]
    roles: list[str]
    parents: list[int]
    label: int
    operation: ast.AST


def word_of(node: ast.AST) -> str:
    """Return what a node is, in a word: a name, a small constant, an operator, or the kind of the node."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name):
            return name
        case ast.Attribute(attr=name):
            return "." + name
        case ast.Constant(value=bool() | int() | None as value):
            return repr(value)[:6]
        case ast.Constant(value=str() as text):
            return "a letter" if len(text) == 1 else "text"
        case ast.BinOp(op=operator) | ast.UnaryOp(op=operator) | ast.BoolOp(op=operator):
            return type(operator).__name__
        case ast.Compare(ops=[operator, *_]):
            return type(operator).__name__
    return type(node).__name__


def operator_of(node: ast.AST) -> str | None:
    """Return the operator of an operation that may be hidden, None for every other node."""
    match node:
        case ast.BinOp(op=operator) | ast.Compare(ops=[operator]):
            return OPERATORS.get(type(operator))
    return None


def pieces_of(source: bytes) -> Iterator[Piece]:
    """Yield the pieces of one file: around each operation as much of the tree as fits into LARGEST nodes."""
    nodes: list[ast.AST] = []
    roles: list[str] = []
    parents: list[int] = []
    ends: list[int] = []  # one past the last node of the subtree

    def walk(node: ast.AST, role: str, parent: int) -> None:
        number = len(nodes)
        nodes.append(node)
        roles.append(role)
        parents.append(parent)
        ends.append(0)
        for name in node._fields:
            value = getattr(node, name, None)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and child._fields:  # operators, `pass` and the like have no fields
                    walk(child, name, number)
        ends[number] = len(nodes)

    walk(ast.parse(source), "", -1)
    found = 0
    for number, node in enumerate(nodes):
        operator = operator_of(node)
        if operator is None:
            continue
        root = number
        while parents[root] >= 0 and ends[parents[root]] - parents[root] <= LARGEST:
            root = parents[root]
        if SMALLEST <= ends[root] - root <= LARGEST and found < PER_FILE:
            found += 1
            inside = range(root, ends[root])
            yield Piece(
                words=[HIDDEN if other == number else word_of(nodes[other]) for other in inside],
                roles=["", *(roles[other] for other in inside[1:])],
                parents=[-1, *(parents[other] - root for other in inside[1:])],
                label=CLASSES.index(operator),
                operation=node,
            )


def read_library(train: int, test: int) -> tuple[list[Piece], list[Piece]]:
    """Return pieces to learn from and to be tested on; a hash of a file's name says which, and in which order."""
    library = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "test", "tests", "idle_test"}
    inside = [
        path for entry in library.iterdir() if entry.name not in skipped for path in (entry, *entry.rglob("*.py"))
    ]
    names = [path.relative_to(library) for path in inside if path.suffix == ".py" and not skipped & set(path.parts)]
    digests = {name: hashlib.md5(name.as_posix().encode()).digest() for name in names}
    parts: tuple[list[Piece], list[Piece]] = ([], [])
    progress = bar(range(train + test), "reading the library", train + test)
    gc.disable()  # millions of nodes are made, and few thrown away: looking for garbage would take half of the time
    try:
        for name in sorted(names, key=digests.__getitem__):
            unseen = digests[name][-1] % 6 == 0
            if len(parts[unseen]) >= (train, test)[unseen]:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what Python has to say of its own library's style
                    found = list(pieces_of((library / name).read_bytes()))
            except (SyntaxError, ValueError, RecursionError):
                continue  # templates, and files of another version of Python
            parts[unseen].extend(found)
            for _ in found:
                next(progress, None)
            if len(parts[0]) >= train and len(parts[1]) >= test:
                break
    finally:
        gc.enable()
    return parts[0][:train], parts[1][:test]


class Vocabulary:
    """Numbers for what occurs at least twice; 0 is everything else."""

    def __init__(self, found: Counter[Any], size: int) -> None:
        kept = [entry for entry, count in found.most_common(size) if count > 1]
        self.numbers = {entry: number for number, entry in enumerate(kept, start=1)}

    def __len__(self) -> int:
        return len(self.numbers) + 1

    def __call__(self, entries: list[Any]) -> list[int]:
        return [self.numbers.get(entry, 0) for entry in entries]


# ------------------------------------------------------------------------------------------------------------ the model
@dataclass
class Tree:
    """A piece as arrays: words and roles, (nodes,) int32; for each node its children's numbers; label, (1,).

    parents : (nodes,) the same structure as numbers, for `CodeReader.read_all`
    """

    words: nd.NDArray
    roles: nd.NDArray
    children: list[list[int]]
    label: nd.NDArray
    parents: np.ndarray


class TreeLSTM(gluon.HybridBlock):
    """The child-sum cell of Tai, Socher and Manning (2015), for one node.

    x (1, units) is what the node is; hs and cs are the children's states: two lists of arrays (1, hidden).
    Returns the node's states h and c, both (1, hidden).
    """

    def __init__(self, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden
        with self.name_scope():
            self.of_node = nn.Dense(4 * hidden)
            self.of_children = nn.Dense(3 * hidden, use_bias=False)
            self.of_child = nn.Dense(hidden, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, hs: list[Any], cs: list[Any]) -> Any:
        node = self.of_node(x)
        gates = F.slice_axis(node, axis=1, begin=0, end=3 * self.hidden)
        if hs:
            gates = gates + self.of_children(F.add_n(*hs))
        i, o, u = F.split(gates, num_outputs=3, axis=1)
        c = F.sigmoid(i) * F.tanh(u)
        if hs:
            keep = F.slice_axis(node, axis=1, begin=3 * self.hidden, end=4 * self.hidden)
            c = c + F.add_n(*[F.sigmoid(keep + self.of_child(h)) * old for h, old in zip(hs, cs)])
        return F.sigmoid(o) * F.tanh(c), c


class Words(gluon.HybridBlock):
    """What the nodes are: words (nodes,) and roles (nodes,) to vectors (nodes, units)."""

    def __init__(self, words: int, roles: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.word = nn.Embedding(words, units, weight_initializer=mx.init.Normal(0.3))
            self.role = nn.Embedding(roles, units, weight_initializer=mx.init.Normal(0.3))
            self.dropout = nn.Dropout(0.3)

    def hybrid_forward(self, F: Any, words: Any, roles: Any) -> Any:
        return self.dropout(self.word(words) + self.role(roles))


class CodeReader(gluon.Block):
    """From a tree to scores (1, classes): the program of one sample, a plain recursion from the leaves to the root."""

    def __init__(self, words: int, roles: int, units: int = 64, hidden: int = 96, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.words = Words(words, roles, units)
            self.cell = TreeLSTM(hidden)
            self.head = nn.HybridSequential()
            self.head.add(nn.Dropout(0.3), nn.Dense(len(CLASSES)))

    def forward(self, tree: Tree) -> Any:
        x = self.words(tree.words, tree.roles)

        def state(node: int) -> Any:
            below = [state(child) for child in tree.children[node]]
            return self.cell(x[node : node + 1], [h for h, _ in below], [c for _, c in below])

        h, _ = state(0)
        return self.head(h)

    def read_all(self, trees: list[Tree]) -> Any:
        """Return the scores (trees, classes) of many trees, whose structure is given as numbers: no Python per node."""
        roots = np.cumsum([0, *[len(tree.parents) for tree in trees[:-1]]])
        parents = [np.where(tree.parents < 0, -1, tree.parents + root) for tree, root in zip(trees, roots)]
        words, roles = (nd.concat(*column, dim=0) for column in zip(*[(tree.words, tree.roles) for tree in trees]))
        h, _ = fold.tree(self.cell, self.words(words, roles), np.concatenate(parents))
        return self.head(nd.take(h, nd.array(roots, dtype="int32")))


def to_tree(piece: Piece, words: Vocabulary, roles: Vocabulary) -> Tree:
    """Turn a piece into arrays."""
    children: list[list[int]] = [[] for _ in piece.words]
    for node, parent in enumerate(piece.parents):
        if parent >= 0:
            children[parent].append(node)
    return Tree(
        nd.array(words(piece.words), dtype="int32"),
        nd.array(roles(piece.roles), dtype="int32"),
        children,
        nd.array([piece.label]),
        np.array(piece.parents),
    )


class Learner:
    """A network in training.

    mode : "on" and "off" are those of fold.batching, which folds or runs one tree after the other; "arrays" gives the
        structure of a batch to fold.tree
    """

    def __init__(
        self, words: Vocabulary, roles: Vocabulary, steps: int, mode: str = "on", hybridize: bool = True
    ) -> None:
        mx.random.seed(0)
        self.mode = mode
        self.net = CodeReader(len(words), len(roles))
        self.net.initialize(mx.init.Xavier())
        if hybridize:
            self.net.hybridize()
        self.loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
        schedule = mx.lr_scheduler.CosineScheduler(max_update=steps, base_lr=4e-3, final_lr=1e-4)
        self.trainer = gluon.Trainer(
            self.net.collect_params(), "adam", {"lr_scheduler": schedule, "clip_gradient": 1.0}
        )

    def step(self, batch: list[Tree]) -> float:
        """Make one step; return the mean loss. This is the whole of it."""
        if self.mode == "arrays":
            with autograd.record():
                labels = nd.concat(*[tree.label for tree in batch], dim=0)
                total = self.loss_of(self.net.read_all(batch), labels).sum()
        else:
            with autograd.record(), fold.batching(mode=self.mode):
                losses = [self.loss_of(self.net(tree), tree.label) for tree in batch]
                total = nd.add_n(*losses)
        total.backward()
        self.trainer.step(len(batch))
        return total.asscalar() / len(batch)

    def guesses(self, trees: list[Tree]) -> np.ndarray:
        """Return the scores of all trees, (trees, classes)."""
        scores = []
        for start in range(0, len(trees), 256):
            with fold.batching(mode=self.mode):
                rows = [self.net(tree) for tree in trees[start : start + 256]]
            scores.append(nd.concat(*rows, dim=0).asnumpy())
        return np.concatenate(scores)


def accuracy(scores: np.ndarray, pieces: list[Piece]) -> float:
    """Return the share of pieces whose operator has the highest score."""
    return float(np.mean(scores.argmax(axis=1) == [piece.label for piece in pieces]))


def batches(trees: list[Tree], epochs: int) -> Iterator[list[Tree]]:
    """Yield batches in a random order that is the same in every run."""
    random = np.random.RandomState(0)
    for _ in range(epochs):
        order = random.permutation(len(trees))
        for start in range(0, len(trees) - BATCH + 1, BATCH):
            yield [trees[index] for index in order[start : start + BATCH]]


def train(learner: Learner, trees: list[Tree], epochs: int, look: Callable[[int, float], object]) -> float:
    """Train and return trees per second; `look` is called after each step with its number and loss, off the clock."""
    seconds, done = 0.0, 0
    for batch in batches(trees, epochs):
        start = time.perf_counter()
        loss = learner.step(batch)
        seconds += time.perf_counter() - start
        done += 1
        look(done, loss)
    return done * BATCH / seconds


def pace(learner: Learner, trees: list[Tree], seconds: float) -> float:
    """Train for about `seconds` and return trees per second, by the median step: the first ones also compile."""
    begin, steps = time.perf_counter(), []
    for batch in batches(trees, 100):
        start = time.perf_counter()
        learner.step(batch)
        steps.append(time.perf_counter() - start)
        if time.perf_counter() - begin > seconds:
            break
    return BATCH / float(np.median(steps))


# -------------------------------------------------------------------------------------------------------- the baselines
def bag_of_nodes(piece: Piece) -> list[Any]:
    """Return the words of all nodes, in no order."""
    return list(piece.words)


def bag_of_pairs(piece: Piece) -> list[Any]:
    """Return words with their roles, with and without the word above: everything but the tree itself."""
    pairs = list(zip(piece.words, piece.roles))
    return pairs + [(*pair, piece.words[parent]) for pair, parent in zip(pairs[1:], piece.parents[1:])]


def linear(bag: Callable[[Piece], list[Any]], train: list[Piece], test: list[Piece], epochs: int) -> float:
    """Train a linear model (multinomial logistic regression) on bags; return its best accuracy after any epoch."""
    mx.random.seed(0)
    vocabulary = Vocabulary(Counter(entry for piece in train for entry in bag(piece)), 30000)

    def rows(pieces: list[Piece]) -> nd.NDArray:
        table = np.zeros((len(pieces), 2 * LARGEST), dtype="int32")  # filled up with 0, "everything else"
        for row, piece in zip(table, pieces):
            numbers = vocabulary(bag(piece))
            row[: len(numbers)] = numbers
        return nd.array(table, dtype="int32")

    weights = nn.Embedding(len(vocabulary), len(CLASSES), weight_initializer="zeros")  # a weight per entry and class
    weights.initialize()
    trainer = gluon.Trainer(weights.collect_params(), "adam", {"learning_rate": 0.01})
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    labels = nd.array([piece.label for piece in train])
    seen, unseen = rows(train), rows(test)
    loader = gluon.data.DataLoader(gluon.data.ArrayDataset(seen, labels), 256, shuffle=True)
    best = 0.0
    for _ in range(epochs):
        for entries, label in loader:
            with autograd.record():
                loss = loss_of(weights(entries).sum(axis=1), label)
            loss.backward()
            trainer.step(len(label))
        best = max(best, accuracy(weights(unseen).sum(axis=1).asnumpy(), test))
    return best


# ----------------------------------------------------------------------------------------------------------- the report
def show(scores: np.ndarray, pieces: list[Piece], count: int) -> None:
    """Print what the network says to a few short operations, each from another piece."""
    chances = nd.softmax(nd.array(scores)).asnumpy()
    random = np.random.RandomState(1)
    shown: set[str] = set()
    for index in random.permutation(len(pieces)):
        piece = pieces[index]
        text = ast.unparse(piece.operation)
        if len(text) > 44 or "\n" in text or text in shown or len(shown) == count:
            continue
        shown.add(text)
        first, second = (CLASSES[k] for k in np.argsort(-chances[index])[:2])
        mark = "right" if first == CLASSES[piece.label] else "WRONG"
        print(f"     {text:46} {mark}: {first} {chances[index].max():.0%}, else {second}")


def plot(
    file: Path, losses: list[float], looks: list[tuple[int, float]], lines: dict[str, float], paces: dict[str, float]
) -> bool:
    """Draw the learning curve and the throughput; return whether matplotlib is there to do so."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (curve, rates) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(2, 1), layout="constrained")
    width = max(1, len(losses) // 60)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    curve.plot(*zip(*looks), "o-", label="Tree-LSTM, unseen files")
    for number, (name, value) in enumerate(lines.items()):
        curve.axhline(value, linestyle=("--", ":", "-.")[number % 3], color=f"C{number + 1}", label=name)
    curve.set(xlabel=f"steps of {BATCH} trees", ylim=(0, 1), title="Which operator was hidden? Share of right answers")
    curve.yaxis.set_major_formatter("{x:.0%}")
    curve.legend(fontsize=8, loc="upper left")
    loss = curve.twinx()
    loss.plot(np.arange(len(smooth)) + width, smooth, color="0.7", label="training loss", zorder=0)
    loss.set(ylim=(0, 1.1 * max(smooth)))
    loss.legend(fontsize=8, loc="upper right")
    bars = rates.barh(list(paces), list(paces.values()), color="C0")
    rates.bar_label(bars, fmt="{:,.0f}", padding=3)
    rates.set(title="trees per second, training")
    rates.margins(x=0.2)
    rates.invert_yaxis()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return True


def run(epochs: int, smoke: bool, file: Path | None) -> None:
    """Read the library, train, compare, and print it all."""
    seen, unseen = read_library(*((256, 128) if smoke else (10000, 1500)))
    if len(seen) < BATCH or not unseen:
        print("   This Python came without the sources of its library: there is nothing to read.")
        return
    words = Vocabulary(Counter(word for piece in seen for word in piece.words), 1000)
    roles = Vocabulary(Counter(role for piece in seen for role in piece.roles), 100)
    nodes = np.mean([len(piece.words) for piece in seen])
    print(
        f"   {len(seen):,} pieces of Python's library to learn from, {nodes:.0f} nodes on average. One operator of\n"
        f"   each is hidden. {len(unseen):,} pieces from other files to be tested on. Right by the simplest means:"
    )
    frequent = Counter(piece.label for piece in seen).most_common(1)[0][0]
    lines = {
        f"always '{CLASSES[frequent]}'": float(np.mean([piece.label == frequent for piece in unseen])),
        "bag of nodes": linear(bag_of_nodes, seen, unseen, 2 if smoke else 6),
        "bag of pairs": linear(bag_of_pairs, seen, unseen, 2 if smoke else 6),
    }
    print("     " + "     ".join(f"{name} {value:.1%}" for name, value in lines.items()))

    trees, others = ([to_tree(piece, words, roles) for piece in part] for part in (seen, unseen))
    steps = epochs * (len(trees) // BATCH)
    learner = Learner(words, roles, steps)
    progress = bar(range(steps), "Tree-LSTM, folded", steps)
    when = {steps * half // (2 * epochs) for half in range(1, 2 * epochs + 1)}  # twice in each epoch
    losses: list[float] = []
    looks: list[tuple[int, float]] = []

    def look(step: int, loss: float) -> None:
        losses.append(loss)
        next(progress, None)
        if step in when:
            looks.append((step, accuracy(learner.guesses(others), unseen)))

    start = time.perf_counter()
    paces = {"folded": train(learner, trees, epochs, look)}
    for _ in progress:  # lets the bar finish
        pass
    print(f"   The Tree-LSTM has {looks[-1][1]:.1%} right after {time.perf_counter() - start:.0f} s. For example:\n")
    show(learner.guesses(others), unseen, 8)

    sides = {
        "folded, structure as arrays": ("arrays", True),
        "one by one, hybridized": ("off", True),
        "one by one": ("off", False),
    }
    for name, (mode, hybridize) in sides.items():
        paces[name] = pace(Learner(words, roles, steps, mode, hybridize), trees, 0.5 if smoke else 3)
    print("\n   The same network, trees per second in training:")
    for name, value in paces.items():
        print(f"     {name:28} {value:8,.0f}   {value / paces['one by one']:5.1f} x")
    if file is not None and plot(file, losses, looks, lines, paces):
        print(f"   The curves are in {file}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--plot", type=Path, default=Path("out/tree_lstm_code.png"), help="where the curves go")
    parser.add_argument("--smoke", action="store_true", help="a few trees and steps only")
    options = parser.parse_args()
    run(1 if options.smoke else options.epochs, options.smoke, options.plot)


if __name__ == "__main__":
    main()
