"""Control flow as graphs: foreach, while_loop and cond compute what the eager loops compute, and travel in files."""
import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import nd, sym
from glueball.base.errors import FileFormatError, UnsupportedError
from glueball.symbol.symbol import Symbol

RANDOM = np.random.RandomState(0)
A, B, C = (RANDOM.uniform(0.5, 1.5, shape).astype("float32") for shape in ((4, 3), (3,), (3,)))


def flat(results):
    return [x for part in results for x in flat(part)] if isinstance(results, (list, tuple)) else [results]


def loops(space, a, b, c):
    """Return the results of one program of each kind, on arrays or on symbols."""
    return {
        "foreach": space.foreach(lambda x, s: (x * c + s[0], [s[0] + x]), a, [b]),
        "rows out": space.foreach(lambda x, s: ([x, x * s[0]], [s[0] + 1]), a, [b]),
        "while": space.while_loop(lambda s, t: s.sum() < 40, lambda s, t: ([s * t], [s + t, t * c]), [b, c],
                                  max_iterations=7),
        "cond": space.cond(b.sum() < c.sum(), lambda: [b * 2, c], lambda: [c - b, b * b]),
    }


def evaluated(symbol, gradients=False):
    given = {"a": nd.array(A), "b": nd.array(B), "c": nd.array(C)}
    given = {name: given[name] for name in symbol.list_arguments()}
    grads = {name: nd.zeros(x.shape) for name, x in given.items()}
    executor = symbol.bind(mx.cpu(), given, args_grad=grads)
    outputs = executor.forward(is_train=gradients)
    if not gradients:
        return [y.asnumpy() for y in outputs]
    executor.backward([nd.ones(y.shape) for y in outputs])
    return {name: g.asnumpy() for name, g in grads.items()}


def symbols():
    a, b, c = (sym.Variable(name) for name in "abc")
    return {name: sym.Group(flat(results)) for name, results in loops(sym.contrib, a, b, c).items()}


def test_graphs_compute_what_the_eager_loops_compute():
    arrays = [nd.array(x) for x in (A, B, C)]
    for x in arrays:
        x.attach_grad()
    for name, symbol in symbols().items():
        with mx.autograd.record():
            eager = flat(loops(nd.contrib, *arrays)[name])
        mx.autograd.backward(eager)
        for ours, theirs in zip(evaluated(symbol), eager):
            np.testing.assert_allclose(ours, theirs.asnumpy(), rtol=1e-5, err_msg=name)
        for variable, gradient in evaluated(symbol, gradients=True).items():
            np.testing.assert_allclose(gradient, arrays["abc".index(variable)].grad.asnumpy(), rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["foreach", "rows out", "while", "cond"])
def test_files_carry_control_flow(name):
    symbol = symbols()[name]
    again = sym.load_json(symbol.tojson())
    assert again.list_arguments() == symbol.list_arguments()
    for ours, theirs in zip(evaluated(again), evaluated(symbol)):
        np.testing.assert_array_equal(ours, theirs)
    for key, gradient in evaluated(again, gradients=True).items():
        np.testing.assert_allclose(gradient, evaluated(symbol, gradients=True)[key], rtol=1e-6)
    assert json.loads(sym.load_json(again.tojson()).tojson()) == json.loads(again.tojson())


def test_what_a_loop_does_not_use_cannot_be_written():
    a, b = sym.Variable("a"), sym.Variable("b")
    outputs, states = sym.contrib.foreach(lambda x, s: (s[0] * 2, [s[0] + 1]), a, [b])
    assert evaluated(sym.Group([outputs, *states]))[0].shape == (4, 3)
    with pytest.raises(UnsupportedError, match="data 0 of .* is not used"):
        Symbol(sym.Group([outputs, *states])._outputs).tojson()


KEYS = ["in_data_locs", "in_state_locs", "remain_locs", "num_out_data", "cond_input_locs", "func_input_locs",
        "func_var_locs", "max_iterations", "then_input_locs", "else_input_locs", "subgraphs", "inputs"]
TEXTS = ["", "[]", "[0]", "[9]", "[-1]", "[0, 0]", "x", "None", "99", "-1", "[0.5]"]
DOCUMENTS = {name: json.loads(symbol.tojson()) for name, symbol in symbols().items()}


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(DOCUMENTS)), st.sampled_from(KEYS), st.sampled_from(TEXTS), st.booleans())
def test_damaged_loops_are_refused_in_words(name, key, text, remove):
    """A change is refused, or makes another graph that can be written again."""
    document = copy.deepcopy(DOCUMENTS[name])
    node = next(n for n in document["nodes"] if "subgraphs" in n)
    if key in ("subgraphs", "inputs"):
        node[key] = node[key][:-1] if remove else node[key] * 2
    elif remove:
        node["attrs"].pop(key, None)
    else:
        node["attrs"][key] = text
    try:
        symbol = sym.load_json(json.dumps(document))
    except FileFormatError as error:
        assert node["name"] in str(error)
        return
    symbol.list_arguments()


def test_sub_graphs_where_none_belong_are_refused():
    document = json.loads((sym.Variable("a") * 2).tojson())
    document["nodes"][-1]["subgraphs"] = [copy.deepcopy(document)]
    with pytest.raises(FileFormatError, match="only control flow"):
        sym.load_json(json.dumps(document))
    loop = copy.deepcopy(DOCUMENTS["foreach"])
    next(n for n in loop["nodes"] if "subgraphs" in n).pop("subgraphs")
    with pytest.raises(FileFormatError, match="has no sub-graphs"):
        sym.load_json(json.dumps(loop))


@pytest.mark.parametrize(("name", "key", "text", "words"), [
    ("foreach", "in_data_locs", "x", "in_data_locs='x' is not a list of numbers"),
    ("foreach", "in_data_locs", "[9]", r"names what is not there: there are \d"),
    ("foreach", "in_data_locs", "[]", "inputs for 0 rows"),
    ("foreach", "num_out_data", "many", "num_out_data='many' is not a number"),
    ("foreach", "num_out_data", "99", r"num_out_data=99 is not possible: at most \d fit"),
    ("foreach", "num_out_data", "0", r"\d new states for \d states"),
    ("while", "num_out_data", "0", r"\d new loop variables for \d"),
    ("while", "cond_input_locs", "[]", "the locations do not fit the sub-graphs' inputs"),
    ("cond", "then_input_locs", "[]", "the locations do not fit the sub-graphs' inputs"),
])  # fmt: skip
def test_each_damage_is_told(name, key, text, words):
    document = copy.deepcopy(DOCUMENTS[name])
    node = next(n for n in document["nodes"] if "subgraphs" in n)
    node["attrs"][key] = text
    with pytest.raises(FileFormatError, match=words) as refused:
        sym.load_json(json.dumps(document))
    assert node["name"] in str(refused.value)
