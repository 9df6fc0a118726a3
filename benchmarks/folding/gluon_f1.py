"""F1 as a newcomer writes it in Gluon: a childsum Tree-LSTM over two dependency trees, and how close the two are.

The one idea: this is the program of one pair, and there is no other. Run with glueball inside `fold.batching()` it is
ours folded; without, ours unfolded; and since it is plain Gluon 1.x, with MXNet 1.9.1 it is MXNet per sample. Only
`fold.tree` (`FoldTree`) is told the structure as arrays. The formulas are in f1_tree_lstm.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gluon_program import GluonProgram
from remote import Arrays, Side

EMBEDDING, HIDDEN, SIMILARITY, CLASSES = 300, 150, 50, 5


def classes(mx: Any) -> Any:
    """Return the network's classes, over glueball or MXNet."""
    gluon, nd = mx.gluon, mx.nd

    class ChildSumCell(gluon.HybridBlock):
        """One node: its word x (1, E) and its children's states, two lists of (1, H)."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                get, H = self.params.get, HIDDEN
                self.i2h_weight = get("i2h_weight", shape=(4 * H, EMBEDDING))
                self.i2h_bias = get("i2h_bias", shape=(4 * H,), init="zeros")
                self.h2h_weight = get("h2h_weight", shape=(3 * H, H))
                self.forget_weight = get("forget_weight", shape=(H, H))

        def hybrid_forward(
            self,
            F: Any,
            x: Any,
            hs: list[Any],
            cs: list[Any],
            i2h_weight: Any,
            i2h_bias: Any,
            h2h_weight: Any,
            forget_weight: Any,
        ) -> Any:
            H = HIDDEN
            words = F.FullyConnected(x, i2h_weight, i2h_bias, num_hidden=4 * H)
            gates = F.slice_axis(words, axis=1, begin=0, end=3 * H)
            if hs:
                gates = gates + F.FullyConnected(F.add_n(*hs), h2h_weight, num_hidden=3 * H, no_bias=True)
            i, o, u = F.split(gates, num_outputs=3, axis=1)
            c = F.sigmoid(i) * F.tanh(u)
            if hs:
                word = F.slice_axis(words, axis=1, begin=3 * H, end=4 * H)
                kept = []
                for h, old in zip(hs, cs):
                    f = F.sigmoid(word + F.FullyConnected(h, forget_weight, num_hidden=H, no_bias=True))
                    kept.append(f * old)
                c = c + F.add_n(*kept)
            return F.sigmoid(o) * F.tanh(c), c

    class Similarity(gluon.HybridBlock):
        """Two sentences (1, H) to log-probabilities (1, 5) of the scores 1 to 5."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.hidden = gluon.nn.Dense(SIMILARITY, in_units=2 * HIDDEN, activation="sigmoid")
                self.score = gluon.nn.Dense(CLASSES, in_units=SIMILARITY)

        def hybrid_forward(self, F: Any, left: Any, right: Any) -> Any:
            both = F.concat(left * right, F.abs(left - right), dim=1)
            return F.log_softmax(self.score(self.hidden(both)))

    class Model(gluon.Block):
        """A pair to log-probabilities."""

        def __init__(self, vocabulary: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.embed = gluon.nn.Embedding(vocabulary, EMBEDDING)
                self.cell = ChildSumCell()
                self.similarity = Similarity()

        def encode(self, tree: Any, x: Any) -> Any:
            """Return the state (h, c) of a tree whose words are the rows of x."""
            children = [self.encode(child, x) for child in tree.children]
            word = x[tree.index : tree.index + 1]
            return self.cell(word, [h for h, _ in children], [c for _, c in children])

        def forward(self, pair: Any) -> Any:
            _, left = self.encode(pair.left.tree, self.embed(pair.left.words))
            _, right = self.encode(pair.right.tree, self.embed(pair.right.words))
            return self.similarity(left, right)

    class ModelOfFixedCells(Model):
        """For MXNet's hybridize(), which fixes the length of a list: a cell for each number of children."""

        def __init__(self, vocabulary: int, **kwargs: Any) -> None:
            super().__init__(vocabulary, **kwargs)
            cells = {n: ChildSumCell(prefix=self.cell.prefix, params=self.cell.params) for n in range(12)}
            for n, cell in cells.items():
                self.register_child(cell, f"cell{n}")
            one = self.cell
            object.__setattr__(self, "cell", lambda x, hs, cs: (cells[len(hs)] if cells else one)(x, hs, cs))
            object.__setattr__(self, "one", one)

    class FoldTree(Model):
        """A whole batch at once, its structure given as arrays."""

        def forward(self, words: Any, parents: np.ndarray, roots: np.ndarray) -> Any:
            _, c = mx.fold.tree(self.cell, self.embed(words), parents)
            ends = nd.take(c, nd.array(roots, dtype="int32"))
            half = len(roots) // 2
            return self.similarity(ends[:half], ends[half:])

    return Model, ModelOfFixedCells, FoldTree


class Sentence:
    """A tree and its words as an array, loaded once."""

    __slots__ = ("tree", "words")

    def __init__(self, tree: Any, words: Any) -> None:
        self.tree, self.words = tree, words


class Example:
    """A pair, loaded once: what a data loader gives."""

    __slots__ = ("left", "right", "target")

    def __init__(self, nd: Any, pair: Any) -> None:
        self.left = Sentence(pair.left, nd.array(pair.left_words, dtype="int32"))
        self.right = Sentence(pair.right, nd.array(pair.right_words, dtype="int32"))
        self.target = nd.array([pair.target])


class GluonSide(GluonProgram):
    """F1 by the program above: `fold` is "on", "off", or "" for MXNet, which has none."""

    def __init__(self, mx: Any, parameters: Arrays, samples: list[Any], hybridize: bool, fold: str) -> None:
        self.mx, self.fold = mx, fold
        plain, fixed, _ = classes(mx)
        self.examples = {id(sample): Example(mx.nd, sample) for sample in samples}
        self.net = self.make((fixed if hybridize and not fold else plain), parameters)
        self.kl = mx.gluon.loss.KLDivLoss()
        if hybridize:
            self.net.hybridize()
            self.kl.hybridize()
        self.trainer = mx.gluon.Trainer(
            self.net.collect_params(), "adagrad", {"learning_rate": 0.02, "wd": 1e-4, "eps": 1e-7}
        )

    def make(self, kind: Any, parameters: Arrays) -> Any:
        """Return the network with the parameters that all sides share."""
        net = kind(parameters["embed"].shape[0])
        net.initialize()
        cell = getattr(net, "one", net.cell)
        head = net.similarity
        self.named = {
            "embed": net.embed.weight,
            "W": cell.i2h_weight,
            "b": cell.i2h_bias,
            "U": cell.h2h_weight,
            "Uf": cell.forget_weight,
            "Wh": head.hidden.weight,
            "bh": head.hidden.bias,
            "Wp": head.score.weight,
            "bp": head.score.bias,
        }
        self.take(parameters)
        return net

    def losses(self, example: Any) -> list[Any]:
        return [self.kl(self.net(example), example.target)]

    def scores(self, example: Any) -> list[Any]:
        return [self.net(example)]


class TreeSide(GluonSide):
    """F1 by `fold.tree`: all trees of a batch as one array of parents.

    With `remember` the arrays of a batch are kept, as by a data loader whose batches are the same in every epoch.
    """

    def __init__(self, mx: Any, parameters: Arrays, samples: list[Any], remember: bool = False) -> None:
        super().__init__(mx, parameters, samples[:1], hybridize=True, fold="on")
        self.net = self.make(classes(mx)[2], parameters)
        self.net.hybridize()
        self.trainer = mx.gluon.Trainer(
            self.net.collect_params(), "adagrad", {"learning_rate": 0.02, "wd": 1e-4, "eps": 1e-7}
        )
        self.remembered: dict[tuple[int, ...], Any] | None = {} if remember else None

    def load(self, batch: list[Any]) -> Any:
        """Return the words, parents, roots and targets of a batch."""
        trees = [(p.left_words, p.left_parents) for p in batch] + [(p.right_words, p.right_parents) for p in batch]
        sizes = np.array([len(words) for words, _ in trees])
        parents = np.concatenate([parents for _, parents in trees])
        roots = np.flatnonzero(parents < 0)
        parents = np.where(parents < 0, -1, parents + np.repeat(np.cumsum(sizes) - sizes, sizes))
        words = self.mx.nd.array(np.concatenate([words for words, _ in trees]), dtype="int32")
        return words, parents, roots, self.mx.nd.array([sample.target for sample in batch])

    def loaded(self, batch: list[Any]) -> Any:
        """Return the same, from memory where it is known."""
        if self.remembered is None:
            return self.load(batch)
        key = tuple(map(id, batch))
        if key not in self.remembered:
            self.remembered[key] = self.load(batch)
        return self.remembered[key]

    def total(self, batch: list[Any]) -> Any:
        words, parents, roots, targets = self.loaded(batch)
        with self.mx.autograd.record():
            return self.kl(self.net(words, parents, roots), targets).sum()

    def infer(self, batch: list[Any]) -> np.ndarray:
        words, parents, roots, _ = self.loaded(batch)
        return self.net(words, parents, roots).asnumpy()


def make(parameters: Arrays, samples: list[Any], hybridize: bool = False) -> Side:
    """Return MXNet's side, in MXNet's Python."""
    import mxnet

    side = GluonSide(mxnet, parameters, samples, hybridize, "")
    side.sizes = (1, 16)
    return side
