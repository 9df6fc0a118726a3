"""How the Tree-LSTM examples read files: what they make of good ones, and what they say of missing or malformed ones.

The one idea: users bring the files of tree_lstm_relatedness.py, so each way in which they are often wrong has a
sentence of its own, with the file and the line. That the program runs to its end is test_examples.py.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example that reads SICK and SST."""
    yield from _module("tree_lstm_relatedness")


@pytest.fixture(scope="module")
def code() -> Iterator[Any]:
    """The example that reads Python."""
    yield from _module("tree_lstm_code")


def _module(name: str) -> Iterator[Any]:
    """Yield an example as a module, found as Python finds it when it is run."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "examples"))


def _sick(folder: Path, **changed: str) -> Path:
    files = {"a.toks": "a dog runs", "a.parents": "2 3 0", "b.toks": "it", "b.parents": "0", "sim.txt": "3.6"}
    files.update({name.replace("_", "."): text for name, text in changed.items()})
    for name, text in files.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("changed, message", [
    ({"a_parents": "2 0"}, r"a\.parents:1: expected a head for each of the 3 tokens"),
    ({"a_parents": "2 x 0"}, r"a\.parents:1: expected whole numbers"),
    ({"a_parents": "2 4 0"}, r"expected heads from -1 to 3\. Received: 4"),
    ({"a_parents": "2 3 1"}, r"expected one root.*Received: 0"),
    ({"a_parents": "0 0 1"}, r"expected one root.*Received: 2"),
    ({"a_parents": "2 1 0"}, r"expected a tree\. Received: 2 tokens that form a circle"),
    ({"sim_txt": "5.5"}, r"sim\.txt:1: expected a score from 1 to 5\. Received: '5\.5'"),
    ({"sim_txt": "high"}, r"Received: 'high'"),
    ({"b_toks": "it\nis"}, r"same number of lines. Received: .*b\.toks 2"),
    ({"a_toks": "", "a_parents": ""}, "expected one root"),
])
def test_malformed_pairs(example: Any, tmp_path: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(example.DataError, match=message):
        example.read_sick(_sick(tmp_path, **changed))


def test_pairs(example: Any, tmp_path: Path) -> None:
    (pair,) = example.read_sick(_sick(tmp_path, a_parents="-1 3 0"))
    assert pair.left.root == 2
    assert pair.left.children == [[], [], [1]]  # the first token is outside the tree
    assert np.allclose(pair.target.asnumpy(), [[0, 0, 0.4, 0.6, 0]])


@pytest.mark.parametrize("score", [1.0, 1.5, 4.0, 4.9, 5.0])
def test_grades_have_the_score_as_their_mean(example: Any, score: float) -> None:
    target = example.Pair(None, None, score).target.asnumpy()[0]
    assert target.min() >= 0
    assert np.isclose(target.sum(), 1)
    assert np.isclose(target @ np.arange(1, 6), score)


@pytest.mark.parametrize("line, message", [
    ("(3 (2 It) (4 works)", r"file:7: expected a '\)' for every '\('"),
    ("(3 (2 It) (4 works)))", "Received more after its end"),
    ("(3 (2 It) (4 works)) (2 x)", "Received more after its end"),
    (")", r"expected a '\(' for every '\)'"),
    ("(5 (2 It) (4 works))", "expected a label from 0 to 4.*Received: '5'"),
    ("((2 It) (4 works))", "expected a label from 0 to 4"),
    ("(3 (2 It))", "one word or two children. Received: 1 parts"),
    ("(3 (2 a) (2 b) (2 c))", "one word or two children. Received: 3 parts"),
    ("(3 It works)", "Received 'works' elsewhere"),
    ("It works", "Received 'It' elsewhere"),
    ("()", "expected a label"),
])
def test_malformed_trees(example: Any, line: str, message: str) -> None:
    with pytest.raises(example.DataError, match=message):
        example.phrase_of(line, "file:7")


def test_trees(example: Any) -> None:
    phrase = example.phrase_of("(3 (2 It) (4 (2 really) (3 works)))", "file:1")
    assert phrase.tokens == ["It", "really", "works"]
    assert phrase.nodes == [0, 1, 2, (1, 2), (0, 3)]
    assert phrase.labels == [2, 2, 3, 4, 3]


def test_missing_files_and_vectors(example: Any, tmp_path: Path) -> None:
    with pytest.raises(example.DataError, match=r"is not a folder(.|\n)*zenodo(.|\n)*CC BY-NC-SA"):
        example.run(tmp_path / "nowhere", None, 1)
    with pytest.raises(example.DataError, match=r"train\.txt is missing"):
        example.run(tmp_path, None, 1)
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("dog 1 2\ncat 1 2 3\n", encoding="utf-8")
    with pytest.raises(example.DataError, match="expected vectors of one size"):
        example.read_vectors(vectors, {"dog", "cat"})
    assert example.read_vectors(vectors, {"dog"})["dog"].tolist() == [1, 2]
    with pytest.raises(example.DataError, match=r"at least one of the 1 words\. Received sizes: \[\]"):
        example.read_vectors(vectors, {"bird"})
    with pytest.raises(example.DataError, match=r"nowhere\.txt is missing(.|\n)*glove"):
        example.read_vectors(tmp_path / "nowhere.txt", {"dog"})
    vectors.write_text("cat 1 2\ndog 1 x\n", encoding="utf-8")
    with pytest.raises(example.DataError, match=r"vectors\.txt:2: expected a word and numbers\. Received: 'dog 1 x"):
        example.read_vectors(vectors, {"dog"})


def test_files_that_are_no_text_or_empty(example: Any, tmp_path: Path) -> None:
    binary, empty = tmp_path / "binary.txt", tmp_path / "empty.txt"
    binary.write_bytes(b"\xff\xfe\xff")
    empty.write_text("\n", encoding="utf-8")
    for read in (example.read_sst, lambda file: example.read_vectors(file, {"dog"})):
        with pytest.raises(example.DataError, match=r"binary\.txt is not text in UTF-8"):
            read(binary)
    with pytest.raises(example.DataError, match="expected at least one tree"):
        example.read_sst(empty)
    for name in ("a.toks", "a.parents", "b.toks", "b.parents", "sim.txt"):
        (tmp_path / name).touch()
    with pytest.raises(example.DataError, match="expected at least one pair"):
        example.read_sick(tmp_path)


def test_the_command_line_says_what_is_missing(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tree_lstm_relatedness.py"])
    with pytest.raises(SystemExit, match=r"tree_lstm_relatedness: No data are given\.\nExpected: --data DIR"):
        example.main()


def test_a_python_without_sources(code: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(code.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    (tmp_path / "broken.py").write_text("def (:", encoding="utf-8")
    code.run(1, True, None)
    assert "there is nothing to read" in capsys.readouterr().out
    assert code.gc.isenabled()


def test_given_vectors_are_used(example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sick, sst = example.make_up(tmp_path)
    vectors = tmp_path / "vectors.txt"
    words = ["dog", "man", "child", "bird", "runs", "sings", "sleeps", "dull", "lovely"]
    vectors.write_text("\n".join(f"{w} {' '.join(str(float(w == o)) for o in words)}" for w in words), encoding="utf-8")
    for data in (sick, sst):
        example.run(data, vectors, 1, hidden=8)
    printed = capsys.readouterr().out
    assert "Pearson's r" in printed
    assert "accuracy" in printed


SOURCE = b"""
def first(items, limit=3):
    if len(items) < limit:
        return None
    return items[0] + limit
"""


def test_pieces_of_python(code: Any) -> None:
    pieces = list(code.pieces_of(SOURCE))
    assert [code.CLASSES[piece.label] for piece in pieces] == ["<", "+"]
    for piece in pieces:
        assert piece.words.count(code.HIDDEN) == 1
        assert len(piece.words) == len(piece.roles) == len(piece.parents) <= code.LARGEST
        assert piece.parents[0] == -1
        assert all(0 <= parent < node for node, parent in enumerate(piece.parents[1:], start=1))
    hidden = pieces[0].words.index(code.HIDDEN)
    below = {pieces[0].roles[node]: pieces[0].words[node] for node, p in enumerate(pieces[0].parents) if p == hidden}
    assert below == {"left": "Call", "comparators": "limit"}


def test_the_library_is_read_the_same_every_time(code: Any) -> None:
    seen, unseen = code.read_library(40, 20)
    again, _ = code.read_library(40, 20)
    assert (len(seen), len(unseen)) == (40, 20)
    assert [piece.words for piece in again] == [piece.words for piece in seen]


def test_the_three_ways_to_train_agree(code: Any) -> None:
    pieces = list(code.pieces_of(SOURCE)) * 2
    words, roles = (code.Vocabulary(Counter(e for p in pieces for e in getattr(p, n)), 50) for n in ("words", "roles"))
    trees = [code.to_tree(piece, words, roles) for piece in pieces]
    learner = code.Learner(words, roles, 2)
    folded = learner.guesses(trees)
    learner.mode = "off"
    assert np.allclose(learner.guesses(trees), folded, atol=1e-5)
    assert np.allclose(learner.net.read_all(trees).asnumpy(), folded, atol=1e-5)
