"""The two experiments of the Tree-LSTM paper on the real files, when you have them; the paper's figures beside yours.

How related are two sentences (SICK)? How does a review of a film sound (SST)? Neither data set is part of this package,
and nothing is downloaded.

SICK    --data DIR with DIR/{train,dev,test}/{a,b}.toks, {a,b}.parents and sim.txt: tokens separated by spaces; for
        each token the number of its head, counted from 1, where 0 is the root and -1 a token outside the tree; a score
        from 1 to 5 for each pair. From https://zenodo.org/record/2787612 (CC BY-NC-SA 3.0: not for commercial use);
        the script that parses the sentences and writes this form is at https://github.com/stanfordnlp/treelstm
SST     --data DIR with DIR/{train,dev,test}.txt: one labelled tree a line, (3 (2 It) (4 works)), labels 0 to 4.
        From https://nlp.stanford.edu/sentiment: trainDevTestTrees_PTB.zip. We know of no licence stated with it: ask
        its authors before any use other than research.

--vectors FILE reads word vectors (GloVe's text format), as the paper did; without them words are learned from these few
sentences alone, and results stay below the paper's. With --smoke tiny files in both forms are made up and used.
Run: python examples/tree_lstm_relatedness.py --data DIR [--vectors glove.840B.300d.txt] [--epochs 10] [--smoke]
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from demo import bar
from tree_lstm_code import TreeLSTM, Vocabulary

import glueball as mx
from glueball import autograd, fold, gluon, nd
from glueball.gluon import nn

PARTS = ("train", "dev", "test")
# Tai, Socher, Manning: Improved Semantic Representations From Tree-Structured Long Short-Term Memory Networks, ACL 2015
PUBLISHED = {"SICK": ("Pearson's r, dependency Tree-LSTM", 0.868), "SST": ("accuracy, constituency Tree-LSTM", 0.510)}
SOURCES = """Expected: --data DIR with the files that --help describes. They come from
  SICK  https://zenodo.org/record/2787612 (CC BY-NC-SA 3.0), parsed and written by the script of
        https://github.com/stanfordnlp/treelstm
  SST   https://nlp.stanford.edu/sentiment, trainDevTestTrees_PTB.zip (no licence stated that we know of)
To see it run on made-up sentences: --smoke"""


class DataError(ValueError):
    """A file is missing or is not what it should be."""


# ------------------------------------------------------------------------------------------------------- reading: SICK
@dataclass
class Sentence:
    """A dependency tree. tokens: words; children: for each token the numbers of the tokens that depend on it."""

    tokens: list[str]
    root: int
    children: list[list[int]]
    words: Any = None  # (tokens,) int32, once the vocabulary is known


@dataclass
class Pair:
    """Two sentences and how related people find them, from 1 (not at all) to 5 (they say the same)."""

    left: Sentence
    right: Sentence
    score: float
    target: Any = field(init=False)  # (1, 5): the score as a distribution over the five grades

    def __post_init__(self) -> None:
        target = np.zeros((1, 5), dtype="float32")
        below = min(int(self.score), 4)
        target[0, below - 1], target[0, below] = below + 1 - self.score, self.score - below
        self.target = nd.array(target)


def lines_of(file: Path) -> list[str]:
    """Return the lines of a file; raises DataError where it is missing or is no text."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{file} is missing.\n{SOURCES}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text in UTF-8: {error}") from None


def sentence_of(tokens: str, heads: str, where: str) -> Sentence:
    """Build a dependency tree from two lines; raises DataError where they do not make one."""
    words = tokens.split()
    try:
        parents = [int(head) for head in heads.split()]
    except ValueError:
        raise DataError(f"{where}: expected whole numbers, the heads of the tokens. Received: {heads!r}") from None
    if len(words) != len(parents):
        raise DataError(f"{where}: expected a head for each of the {len(words)} tokens. Received: {len(parents)} heads")
    children: list[list[int]] = [[] for _ in words]
    for token, parent in enumerate(parents):
        if not -1 <= parent <= len(words):
            raise DataError(f"{where}: expected heads from -1 to {len(words)}. Received: {parent}")
        if parent > 0:
            children[parent - 1].append(token)
    roots = [token for token, parent in enumerate(parents) if parent == 0]
    if len(roots) != 1:
        raise DataError(f"{where}: expected one root, a token whose head is 0. Received: {len(roots)}, in {heads!r}")
    reached, waiting = 0, [roots[0]]
    while waiting:
        reached += 1
        waiting.extend(children[waiting.pop()])
    hanging = sum(parent > 0 for parent in parents) + 1
    if reached != hanging:
        raise DataError(
            f"{where}: expected a tree. Received: {hanging - reached} tokens that form a circle, in {heads!r}"
        )
    return Sentence(words, roots[0], children)


def read_sick(folder: Path) -> list[Pair]:
    """Read one part of SICK; raises DataError."""
    names = ("a.toks", "a.parents", "b.toks", "b.parents", "sim.txt")
    columns = [lines_of(folder / name) for name in names]
    if len({len(column) for column in columns}) != 1:
        counts = ", ".join(f"{name} {len(column)}" for name, column in zip(names, columns))
        raise DataError(f"{folder}: expected files of the same number of lines. Received: {counts}")
    pairs = []
    for number, (left, left_heads, right, right_heads, score) in enumerate(zip(*columns), start=1):
        try:
            value = float(score)
        except ValueError:
            value = float("nan")
        if not 1 <= value <= 5:
            raise DataError(f"{folder / 'sim.txt'}:{number}: expected a score from 1 to 5. Received: {score!r}")
        pairs.append(
            Pair(
                sentence_of(left, left_heads, f"{folder / 'a.parents'}:{number}"),
                sentence_of(right, right_heads, f"{folder / 'b.parents'}:{number}"),
                value,
            )
        )
    if not pairs:
        raise DataError(f"{folder}: expected at least one pair. Received: empty files")
    return pairs


# -------------------------------------------------------------------------------------------------------- reading: SST
@dataclass
class Phrase:
    """A binary tree over a sentence; children are numbered before their parent, and the root is the last node.

    nodes : for each node the number of its word, or the pair of its children; labels : its sentiment, from 0 to 4
    """

    tokens: list[str]
    nodes: list[int | tuple[int, int]]
    labels: list[int]
    words: Any = None
    targets: Any = None  # (nodes,)


_TOKEN = re.compile(r"\(|\)|[^\s()]+")


def phrase_of(line: str, where: str) -> Phrase:
    """Parse one labelled tree; raises DataError."""
    phrase = Phrase([], [], [])
    stack: list[list[Any]] = []  # open nodes: label, then children or a word
    finished = False
    for token in _TOKEN.findall(line):
        if finished:
            raise DataError(f"{where}: expected one tree. Received more after its end: {token!r}")
        if token == "(":
            stack.append([])
        elif token != ")":
            if not stack or len(stack[-1]) > 1:
                raise DataError(
                    f"{where}: expected '(label word)' or '(label (..) (..))'. Received {token!r} elsewhere"
                )
            stack[-1].append(token)
        else:
            if not stack:
                raise DataError(f"{where}: expected a '(' for every ')'. Received: {line[:60]!r} ...")
            label, *parts = stack.pop() or [""]
            if label not in ("0", "1", "2", "3", "4"):
                raise DataError(f"{where}: expected a label from 0 to 4 after '('. Received: {label!r}")
            if len(parts) == 1 and isinstance(parts[0], str):
                phrase.nodes.append(len(phrase.tokens))
                phrase.tokens.append(parts[0])
            elif len(parts) == 2 and all(isinstance(part, int) for part in parts):
                phrase.nodes.append((parts[0], parts[1]))
            else:
                raise DataError(f"{where}: expected nodes with one word or two children. Received: {len(parts)} parts")
            phrase.labels.append(int(label))
            finished = not stack
            if stack:
                stack[-1].append(len(phrase.nodes) - 1)
    if not finished:
        raise DataError(f"{where}: expected a ')' for every '('. Received: {line[:60]!r} ...")
    return phrase


def read_sst(file: Path) -> list[Phrase]:
    """Read one part of SST; raises DataError."""
    phrases = [
        phrase_of(line, f"{file}:{number}") for number, line in enumerate(lines_of(file), start=1) if line.strip()
    ]
    if not phrases:
        raise DataError(f"{file}: expected at least one tree. Received: an empty file")
    return phrases


def read_vectors(file: Path, words: set[str]) -> dict[str, np.ndarray]:
    """Return the vectors of those words that a file in GloVe's text format has; raises DataError."""
    found: dict[str, np.ndarray] = {}
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                word, _, rest = line.rstrip().partition(" ")
                if word in words and word not in found:
                    try:
                        found[word] = np.array(rest.split(), dtype="float32")
                    except ValueError:
                        raise DataError(
                            f"{file}:{number}: expected a word and numbers. Received: {line[:60]!r}"
                        ) from None
    except FileNotFoundError:
        raise DataError(
            f"{file} is missing.\nExpected: word vectors, https://nlp.stanford.edu/projects/glove"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text in UTF-8: {error}") from None
    if len({vector.size for vector in found.values()}) != 1:
        raise DataError(
            f"{file}: expected vectors of one size for at least one of the {len(words)} words. "
            f"Received sizes: {sorted({vector.size for vector in found.values()})}"
        )
    return found


# ----------------------------------------------------------------------------------------------------------- the models
class Relatedness(gluon.Block):
    """Two sentences to log-probabilities (1, 5) of the grades; the child-sum cell is that of tree_lstm_code.py."""

    def __init__(self, words: int, units: int = 300, hidden: int = 150, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = nn.Embedding(words, units, weight_initializer=mx.init.Normal(0.05))
            self.cell = TreeLSTM(hidden)
            self.compare = Compare()

    def read(self, sentence: Sentence) -> Any:
        """Return the state h (1, hidden) of a sentence's root."""
        x = self.embedding(sentence.words)

        def state(token: int) -> Any:
            below = [state(child) for child in sentence.children[token]]
            return self.cell(x[token : token + 1], [h for h, _ in below], [c for _, c in below])

        return state(sentence.root)[0]

    def forward(self, pair: Pair) -> Any:
        return self.compare(self.read(pair.left), self.read(pair.right))


class Compare(gluon.HybridBlock):
    """Two states (1, hidden) to log-probabilities (1, 5)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.hidden = nn.Dense(50, activation="sigmoid")
            self.grades = nn.Dense(5)

    def hybrid_forward(self, F: Any, left: Any, right: Any) -> Any:
        return F.log_softmax(self.grades(self.hidden(F.concat(left * right, F.abs(left - right), dim=1))))


class Leaf(gluon.HybridBlock):
    """A word (1, units) to the states h and c (1, hidden)."""

    def __init__(self, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.gates = nn.Dense(2 * hidden)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        o, c = F.split(self.gates(x), num_outputs=2, axis=1)
        return F.sigmoid(o) * F.tanh(c), c


class Join(gluon.HybridBlock):
    """The states of two parts to the states of the whole: one forget gate for each part."""

    def __init__(self, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.gates = nn.Dense(5 * hidden)

    def hybrid_forward(self, F: Any, h1: Any, c1: Any, h2: Any, c2: Any) -> Any:
        i, o, u, f1, f2 = F.split(self.gates(F.concat(h1, h2, dim=1)), num_outputs=5, axis=1)
        c = F.sigmoid(i) * F.tanh(u) + F.sigmoid(f1) * c1 + F.sigmoid(f2) * c2
        return F.sigmoid(o) * F.tanh(c), c


class Sentiment(gluon.Block):
    """A phrase to scores (nodes, 5) of every part of it, the whole last: the binary constituency Tree-LSTM."""

    def __init__(self, words: int, units: int = 300, hidden: int = 150, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = nn.Embedding(words, units, weight_initializer=mx.init.Normal(0.05))
            self.leaf, self.join = Leaf(hidden), Join(hidden)
            self.dropout, self.score = nn.Dropout(0.5), nn.Dense(5)

    def forward(self, phrase: Phrase) -> Any:
        x = self.embedding(phrase.words)
        states: list[Any] = []
        for node in phrase.nodes:
            if isinstance(node, int):
                states.append(self.leaf(x[node : node + 1]))
            else:
                states.append(self.join(*states[node[0]], *states[node[1]]))
        return self.score(self.dropout(nd.concat(*[h for h, _ in states], dim=0)))


# ------------------------------------------------------------------------------------------------------- the two tasks
@dataclass
class Task:
    """What distinguishes the experiments: a network, the loss of a sample, and the measure of all answers."""

    name: str
    net: gluon.Block
    loss: Callable[[Any], Any]
    measure: Callable[[list[Any], list[np.ndarray]], float]


def sentences_of(samples: Iterable[Any]) -> Iterator[Any]:
    """Yield everything that has tokens."""
    for sample in samples:
        yield from (sample.left, sample.right) if isinstance(sample, Pair) else (sample,)


def pearson(pairs: list[Pair], answers: list[np.ndarray]) -> float:
    """Return the correlation of expected grades and scores; 0 where one side does not vary."""
    grades = np.array([float(np.exp(answer[0]) @ np.arange(1, 6)) for answer in answers])
    scores = np.array([pair.score for pair in pairs])
    return float(np.corrcoef(grades, scores)[0, 1]) if grades.std() > 0 and scores.std() > 0 else 0.0


def root_accuracy(phrases: list[Phrase], answers: list[np.ndarray]) -> float:
    """Return the share of whole sentences whose label has the highest score."""
    return float(np.mean([answer[-1].argmax() == phrase.labels[-1] for phrase, answer in zip(phrases, answers)]))


def make_task(name: str, words: int, **sizes: int) -> Task:
    """Return the task of a data set."""
    if name == "SICK":
        net, divergence = Relatedness(words, **sizes), gluon.loss.KLDivLoss()
        return Task(name, net, lambda pair: divergence(net(pair), pair.target) * 5, pearson)  # KLDivLoss: mean over 5
    net, entropy = Sentiment(words, **sizes), gluon.loss.SoftmaxCrossEntropyLoss()
    return Task(name, net, lambda phrase: entropy(net(phrase), phrase.targets).sum(), root_accuracy)


def answers_of(task: Task, samples: list[Any]) -> list[np.ndarray]:
    """Return the network's answers, 256 samples at a time."""
    found: list[np.ndarray] = []
    for start in range(0, len(samples), 256):
        with fold.batching():
            rows = [task.net(sample) for sample in samples[start : start + 256]]
        found.extend(row.asnumpy() for row in rows)
    return found


def train(task: Task, parts: dict[str, list[Any]], epochs: int) -> float:
    """Train with AdaGrad on batches of 25, as the paper did; return the measure on test of the best epoch on dev."""
    trainer = gluon.Trainer(task.net.collect_params(), "adagrad", {"learning_rate": 0.05, "wd": 1e-4})
    random = np.random.RandomState(0)
    best, result = -1.0, 0.0
    samples = parts["train"]
    for epoch in range(1, epochs + 1):
        order, start, total = random.permutation(len(samples)), time.perf_counter(), 0.0
        starts = range(0, len(order), 25)
        for first in bar(starts, f"{task.name}, epoch {epoch} of {epochs}", len(starts)):
            batch = [samples[index] for index in order[first : first + 25]]
            with autograd.record(), fold.batching():
                loss = nd.add_n(*[task.loss(sample) for sample in batch])
            loss.backward()
            trainer.step(len(batch))
            total += loss.asscalar()
        seconds = time.perf_counter() - start
        dev = task.measure(parts["dev"], answers_of(task, parts["dev"]))
        if dev > best:
            best, result = dev, task.measure(parts["test"], answers_of(task, parts["test"]))
        pace = len(order) / seconds
        print(f"   epoch {epoch:2}   loss {total / len(order):7.4f}   dev {dev:6.3f}   {pace:6,.0f} samples/s")
    return result


def run(data: Path, vectors: Path | None, epochs: int, **sizes: int) -> None:
    """Read, train, and print the result beside the paper's; raises DataError."""
    if not data.is_dir():
        raise DataError(f"{data} is not a folder.\n{SOURCES}")
    name = "SICK" if (data / "train").is_dir() else "SST"
    parts: dict[str, list[Any]] = {
        part: read_sick(data / part) if name == "SICK" else read_sst(data / f"{part}.txt") for part in PARTS
    }
    counts = ", ".join(f"{len(samples):,} {part}" for part, samples in parts.items())
    print(f"\n{name}: {counts}")

    mx.random.seed(0)
    counted = Counter(token for sentence in sentences_of(parts["train"]) for token in sentence.tokens)
    given: dict[str, np.ndarray] = {}
    if vectors is not None:
        # Words of dev and test may be known by their given vectors; nothing else of these parts is looked at.
        given = read_vectors(vectors, {t for part in PARTS for s in sentences_of(parts[part]) for t in s.tokens})
        sizes["units"] = next(iter(given.values())).size
        counted.update(dict.fromkeys(given, 2))
    vocabulary = Vocabulary(counted, len(counted))
    for sentence in (s for part in PARTS for s in sentences_of(parts[part])):
        sentence.words = nd.array(vocabulary(sentence.tokens), dtype="int32")
        if isinstance(sentence, Phrase):
            sentence.targets = nd.array(sentence.labels)

    task = make_task(name, len(vocabulary), **sizes)
    task.net.initialize(mx.init.Xavier())
    if given:
        table = task.net.embedding.weight.data()
        for word, vector in given.items():
            table[vocabulary.numbers[word]] = nd.array(vector)
        if name == "SICK":
            task.net.embedding.weight.lr_mult = 0.0  # the paper keeps them as they are here; for SST it tunes them
    task.net.hybridize()
    result = train(task, parts, epochs)
    what, published = PUBLISHED[name]
    print(
        f"   {what:36} here {result:6.3f}   in the paper {published:.3f}" + ("" if given else " (with GloVe vectors)")
    )


# ------------------------------------------------------------------------------------------------------ made-up files
def make_up(folder: Path) -> tuple[Path, Path]:
    """Write tiny files in both forms: sentences of three words and more, whose meaning is in single words."""
    random = np.random.RandomState(0)
    nouns, verbs = ["dog", "man", "child", "bird"], ["runs", "sings", "sleeps"]
    sick, sst = folder / "sick", folder / "sst"
    sst.mkdir(parents=True)
    for part, count in zip(PARTS, (60, 20, 20)):
        (sick / part).mkdir(parents=True)
        columns: list[list[str]] = [[], [], [], [], []]
        for _ in range(count):
            first, second = ((random.randint(4), random.randint(3)) for _ in range(2))
            for column, (noun, verb) in ((0, first), (2, second)):
                far = random.rand() < 0.5  # "a dog runs", or "a dog runs here"
                columns[column].append(f"a {nouns[noun]} {verbs[verb]}" + " here" * far)
                columns[column + 1].append("2 3 0" + " 3" * far)
            columns[4].append(str(1.0 + 2 * (first[0] == second[0]) + 2 * (first[1] == second[1])))
        for name, column in zip(("a.toks", "a.parents", "b.toks", "b.parents", "sim.txt"), columns):
            (sick / part / name).write_text("\n".join(column) + "\n", encoding="utf-8")
        trees = []
        for _ in range(count):
            good, much = random.randint(2), random.randint(2)
            label = (1 - much, 3 + much)[good]
            adjective = f"({1 + 2 * good} {('dull', 'lovely')[good]})"
            praise = f"({label} (2 very) {adjective})" if much else adjective
            trees.append(f"({label} (2 It) ({label} (2 is) {praise}))")
        (sst / f"{part}.txt").write_text("\n".join(trees) + "\n", encoding="utf-8")
    return sick, sst


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="where the files are")
    parser.add_argument("--vectors", type=Path, help="word vectors in GloVe's text format")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="make up tiny files in both forms and use them")
    options = parser.parse_args()
    try:
        if options.smoke:
            with tempfile.TemporaryDirectory() as folder:
                for data in make_up(Path(folder)):
                    run(data, options.vectors, 2, units=16, hidden=16)
                print("   (made-up sentences: the figures say that it runs, no more)")
        elif options.data is None:
            raise DataError(f"No data are given.\n{SOURCES}")
        else:
            run(options.data, options.vectors, options.epochs)
    except DataError as error:
        raise SystemExit(f"tree_lstm_relatedness: {error}") from None


if __name__ == "__main__":
    main()
