"""Small programs (indexing, operators, methods, autograd, naming, errors) and symbol facts against the golden data."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import reader
from programs import execute, result_of, scope
from support import checked, same_tree

import glueball as mx
from glueball.ops.opdef import lookup

FACTS = {case["id"]: case for case in reader.load("facts")}
SYMBOLS = [case["id"] for case in reader.load("symbols")]


@pytest.mark.parametrize("name", list(FACTS), ids=lambda name: name[:90])
def test_program(name: str) -> None:
    case = FACTS[name]

    def run() -> Any:
        with mx.name.NameManager(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return result_of(execute(case["code"], scope(mx)))

    def compare() -> None:
        if "raises" not in case:
            same_tree(run(), case["result"], "result")
            return
        try:
            answer = run()
        except Exception as error:
            names = {base.__name__ for base in type(error).__mro__}
            assert case["raises"] in names, f"raised {type(error).__name__}, the oracle raises {case['raises']}"
            return
        pytest.fail(f"the oracle raises {case['raises']}, Glueball answers {answer!r}")

    checked("facts", name, compare)


def evaluate(code: str) -> Any:
    *before, last = code.split("; ")
    names = {"sym": mx.sym, "v": mx.sym.Variable}
    for line in before:
        exec(line, names)
    return eval(last, names)


def nodes(text: str) -> list[tuple[Any, ...]]:
    """The graph of a symbol JSON: operators with typed attributes, names, edges; no version, no row pointers."""
    found = []
    for n in json.loads(text)["nodes"]:
        attrs: dict[str, Any] = {}
        if n["op"] != "null":
            known = lookup(n["op"])
            attrs = known.typed({k: v for k, v in n.get("attrs", {}).items() if k in known.attr_by_name})
        found.append((n["op"], n["name"], attrs, [tuple(i[:2]) for i in n["inputs"]]))
    return found


@pytest.mark.parametrize("name", SYMBOLS)
def test_symbol(name: str) -> None:
    case = reader.case("symbols", name)

    def compare() -> None:
        with mx.name.NameManager():
            symbol = evaluate(case["code"])
        assert symbol.name == case["name"]
        assert symbol.list_outputs() == case["outputs"]
        assert symbol.list_arguments() == case["arguments"]
        assert nodes(symbol.tojson()) == nodes(case["json"])
        if "given" not in case:
            return
        assert symbol.list_auxiliary_states() == case["auxiliary"]
        assert symbol.get_internals().list_outputs() == case["internals"]
        assert symbol.list_inputs() == case["inputs"]
        given = {key: tuple(shape) for key, shape in case["given"].items()}
        if "shapes_refused" in case:
            with warnings.catch_warnings(), pytest.raises(mx.base.MXNetError):
                warnings.simplefilter("ignore")
                symbol.infer_shape(**given)
            return
        partial = [[list(shape) for shape in part] for part in symbol.infer_shape_partial(**given)]
        assert partial == case["partial"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = symbol.infer_shape(**given)
        assert (None if found[0] is None else [[list(s) for s in part] for part in found]) == case["shapes"]

    checked("symbols", name, compare)


@pytest.mark.parametrize("name", SYMBOLS)
def test_symbol_json_is_read(name: str) -> None:
    """The oracle's own JSON loads into the same graph, and our JSON of it describes that graph again."""
    case = reader.case("symbols", name)

    def compare() -> None:
        symbol = mx.sym.load_json(case["json"])
        assert symbol.list_outputs() == case["outputs"]
        assert symbol.list_arguments() == case["arguments"]
        again = mx.sym.load_json(symbol.tojson())
        assert again.list_outputs() == case["outputs"]
        assert nodes(again.tojson()) == nodes(case["json"])
        if case.get("shapes"):
            found = symbol.infer_shape(**{key: tuple(shape) for key, shape in case["given"].items()})
            assert [[list(s) for s in part] for part in found] == case["shapes"]

    checked("symbols json", name, compare)


def test_the_attributes_of_variables_are_kept() -> None:
    case = next(c for c in reader.load("symbols") if "__mood__" in c["code"])
    ours = mx.sym.load_json(case["json"]).attr_dict()
    for node, attrs in case["attributes"].items():
        for key, value in attrs.items():
            if key.startswith("__"):
                assert ours[node][key] == value
