"""SymbolBlock: what it is called with and made from, and what it says when that does not fit.

Exports that come back are in test_block.py, models in any format in test_model_file.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import glueball as mx
from glueball import gluon, nd, sym
from glueball.base.errors import MXNetError


def block():
    """Return x · 2 + y as a block with a parameter."""
    a, b, w = sym.Variable("a"), sym.Variable("b"), sym.Variable("w", shape=(2,))
    made = gluon.SymbolBlock(sym.broadcast_mul(a, w) + b, [a, b])
    made.initialize(mx.init.Constant(2.0))
    return made


X, Y = np.array([[1.0, 2.0]], np.float32), np.array([[10.0, 20.0]], np.float32)
WANTED = [[12.0, 24.0]]


def test_arrays_and_numpy_arrays():
    net = block()
    assert net(nd.array(X), nd.array(Y)).asnumpy().tolist() == WANTED
    assert net(X, nd.array(Y)).asnumpy().tolist() == WANTED
    assert net(X, Y).asnumpy().tolist() == WANTED


def test_symbols_are_composed():
    net = block()
    made = net(sym.Variable("left") + 1.0, sym.Variable("right"))
    assert set(made.list_arguments()) == {"left", "right", "w"}
    found = made.eval(left=nd.array(X) - 1.0, right=nd.array(Y), w=nd.array([2.0, 2.0]))[0]
    assert found.asnumpy().tolist() == WANTED


def test_in_a_hybridized_block_beside_a_constant():
    class Net(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.inner = block()

        def forward(self, x):
            return self.inner(x, nd.array(Y))

    net = Net()
    net.hybridize()
    for _ in range(2):
        assert net(nd.array(X)).asnumpy().tolist() == WANTED


@pytest.mark.parametrize("other", [lambda: sym.Variable("y"), lambda: 3.0])
def test_one_kind_of_inputs(other):
    with pytest.raises(MXNetError, match=r"(?s)arrays, or with symbols.*all of one kind.*NDArray, \w+.*sym.Variable"):
        block()(nd.array(X), other())


def test_as_many_inputs_as_the_graph_has():
    with pytest.raises(MXNetError, match="(?s)number of inputs does not fit.*a, b.*1.*one array per input"):
        block()(nd.array(X))


def test_inputs_are_variables():
    a = sym.Variable("a")
    with pytest.raises(MXNetError, match=r"(?s)Inputs must be variables.*sym\.Variable\('data'\)"):
        gluon.SymbolBlock(a * 2.0, a + 1.0)


def test_hints_of_variables():
    a = sym.Variable("a")
    made = gluon.SymbolBlock(a * sym.Variable("w", lr_mult=0.5, wd_mult=0.0, init=mx.init.One(), shape=(2,)), a)
    assert (made.params["w"].lr_mult, made.params["w"].wd_mult) == (0.5, 0.0)
    made.initialize()
    assert made.params["w"].data().asnumpy().tolist() == [1.0, 1.0]
    with pytest.raises(MXNetError, match="(?s)variable 'w'.*lr_mult is not a number.*a number.*'fast'.*lr_mult=1.0"):
        gluon.SymbolBlock(a * sym.Variable("w", attr={"__lr_mult__": "fast"}), a)


def test_imports_says_what_a_file_lacks(tmp_path):
    symbol_file, param_file = str(tmp_path / "m-symbol.json"), str(tmp_path / "m.params")
    (sym.Variable("data") * sym.Variable("w")).save(symbol_file)
    nd.save(param_file, [nd.ones((2,))])
    with pytest.raises(MXNetError, match=r"(?s)no names.*arrays by name.*1 arrays without names.*arg:name"):
        gluon.SymbolBlock.imports(symbol_file, "data", param_file)
    with pytest.raises(MXNetError, match="(?s)no input 'image'.*data, w.*names of the variables"):
        gluon.SymbolBlock.imports(symbol_file, "image")
