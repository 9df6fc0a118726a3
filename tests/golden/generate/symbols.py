"""Golden facts of symbols: expressions over `sym`, what they list, infer, and write as JSON."""

from __future__ import annotations

from typing import Any

import mxnet as mx
from operator_cases import clear_errors
from store import Store

# (expression, shapes for infer_shape); `v` is sym.Variable. More lines: `a = ...; b = ...` before the last expression.
EXPRESSIONS: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("sym.FullyConnected(v('data'), num_hidden=4, name='fc')", {"data": (2, 3)}),
    ("sym.FullyConnected(v('data'), num_hidden=4, no_bias=True, name='fc')", {"data": (2, 3, 4)}),
    ("sym.FullyConnected(v('data'), v('w'), v('b'), num_hidden=4, flatten=False, name='fc')", {"data": (2, 3, 4)}),
    ("sym.FullyConnected(data=v('data'), weight=v('w', shape=(5, 3)), num_hidden=5, name='fc')", {"data": (2, 0)}),
    (
        "sym.Activation(sym.FullyConnected(v('data'), num_hidden=4, name='fc'), act_type='relu', name='act')",
        {"data": (2, 3)},
    ),
    ("sym.Convolution(v('data'), kernel=(3, 3), num_filter=4, name='c')", {"data": (1, 3, 8, 8)}),
    (
        "sym.Convolution(v('data'), kernel=(3, 3), num_filter=4, stride=(2, 2), pad=(1, 1), no_bias=True, "
        "num_group=2, name='c')",
        {"data": (1, 4, 7, 8)},
    ),
    ("sym.Convolution(v('data'), kernel=(3,), num_filter=4, name='c')", {"data": (1, 3, 8)}),
    ("sym.Deconvolution(v('data'), kernel=(2, 2), stride=(2, 2), num_filter=3, name='d')", {"data": (1, 4, 5, 5)}),
    ("sym.BatchNorm(v('data'), name='bn')", {"data": (2, 3, 4, 4)}),
    ("sym.BatchNorm(v('data'), output_mean_var=True, name='bn')", {"data": (2, 3, 4)}),
    ("sym.LayerNorm(v('data'), name='ln')", {"data": (2, 3, 4)}),
    ("sym.InstanceNorm(v('data'), name='n')", {"data": (2, 3, 4)}),
    ("sym.GroupNorm(v('data'), num_groups=2, name='n')", {"data": (2, 4, 3)}),
    ("sym.Pooling(v('data'), kernel=(2, 2), stride=(2, 2), pool_type='avg', name='p')", {"data": (1, 3, 7, 6)}),
    (
        "sym.Pooling(v('data'), kernel=(3, 3), stride=(2, 2), pooling_convention='full', name='p')",
        {"data": (1, 3, 8, 8)},
    ),
    ("sym.Pooling(v('data'), global_pool=True, name='p')", {"data": (1, 3, 8, 8)}),
    ("sym.Embedding(v('data'), input_dim=7, output_dim=3, name='e')", {"data": (2, 5)}),
    ("sym.LeakyReLU(v('data'), act_type='prelu', name='l')", {"data": (2, 3, 4)}),
    ("sym.LeakyReLU(v('data'), act_type='leaky', name='l')", {"data": (2, 3)}),
    ("sym.SoftmaxOutput(sym.FullyConnected(v('data'), num_hidden=4, name='fc'), name='softmax')", {"data": (2, 3)}),
    ("sym.LinearRegressionOutput(v('data'), v('label'), name='lro')", {"data": (2, 3)}),
    (
        "sym.RNN(v('data'), v('p'), v('h'), v('c'), state_size=4, num_layers=1, mode='lstm', "
        "state_outputs=True, name='rnn')",
        {"data": (3, 2, 5)},
    ),
    ("sym.RNN(v('data'), state_size=4, num_layers=2, bidirectional=True, mode='gru', name='rnn')", {"data": (3, 2, 5)}),
    ("v('a') + v('b')", {"a": (2, 3)}),
    ("v('a') * 2 - 1", {"a": (2, 3)}),
    ("sym.broadcast_add(v('a'), v('b'), name='s')", {"a": (2, 1), "b": (1, 3)}),
    ("sym.dot(v('a'), v('b'), name='s')", {"a": (2, 3), "b": (3, 4)}),
    ("sym.batch_dot(v('a'), v('b'), transpose_b=True, name='s')", {"a": (2, 3, 4), "b": (2, 5, 4)}),
    ("sym.Reshape(v('a'), shape=(0, -1), name='r')", {"a": (2, 3, 4)}),
    ("sym.Flatten(v('a'), name='r')", {"a": (2, 3, 4)}),
    ("sym.transpose(v('a'), axes=(1, 0, 2), name='r')", {"a": (2, 3, 4)}),
    ("sym.Concat(v('a'), v('b'), dim=1, name='c')", {"a": (2, 3), "b": (2, 4)}),
    ("sym.stack(v('a'), v('b'), axis=1, name='c')", {"a": (2, 3)}),
    ("sym.SliceChannel(v('a'), num_outputs=2, name='s')", {"a": (2, 4)}),
    ("sym.SliceChannel(v('a'), num_outputs=2, name='s')[1]", {"a": (2, 4)}),
    ("sym.split(v('a'), num_outputs=4, squeeze_axis=True, name='s')", {"a": (2, 4)}),
    ("sym.Group([sym.relu(v('a'), name='r'), sym.tanh(v('b'), name='t')])", {"a": (2,), "b": (3,)}),
    ("sym.sum(v('a'), axis=1, name='s')", {"a": (2, 3)}),
    ("sym.mean(v('a'), axis=(0, 2), keepdims=True, name='s')", {"a": (2, 3, 4)}),
    ("sym.sum(v('a'), name='s')", {"a": (2, 3)}),
    ("sym.slice_axis(v('a'), axis=1, begin=1, end=3, name='s')", {"a": (2, 5)}),
    ("sym.expand_dims(v('a'), axis=1, name='s')", {"a": (2, 5)}),
    ("sym.tile(v('a'), reps=(2, 3), name='s')", {"a": (2, 5)}),
    ("sym.topk(v('a'), k=2, ret_typ='both', name='t')", {"a": (2, 5)}),
    ("sym.one_hot(v('a'), depth=4, name='o')", {"a": (2, 5)}),
    ("sym.take(v('a'), v('i'), name='o')", {"a": (4, 5), "i": (2, 3)}),
    ("sym.where(v('c'), v('x'), v('y'), name='w')", {"x": (2, 3)}),
    ("sym.zeros(shape=(2, 3), name='z') + v('a')", {}),
    ("sym.BlockGrad(sym.Dropout(v('a'), p=0.3, name='d'), name='b')", {"a": (2, 3)}),
    (
        "f = sym.FullyConnected(v('data'), num_hidden=4, name='fc'); g = sym.FullyConnected(f, num_hidden=4, "
        "weight=f.get_internals()['fc_weight'], name='g'); g",
        {"data": (2, 4)},
    ),
    ("a = v('a'); x = sym.relu(a, name='r'); sym.elemwise_add(x, x, name='twice')", {"a": (2, 3)}),
    ("n = sym.relu(v('x'), name='net'); n(x=sym.tanh(v('z'), name='inner'), name='outer')", {"z": (2, 3)}),
    ("sym.UpSampling(v('a'), scale=2, sample_type='nearest', name='u')", {"a": (1, 2, 3, 3)}),
    ("sym.Pad(v('a'), mode='edge', pad_width=(0, 0, 0, 0, 1, 1, 2, 2), name='p')", {"a": (1, 2, 3, 3)}),
    ("sym.contrib.MultiBoxPrior(v('a'), sizes=(0.5, 0.2), ratios=(1, 2), name='m')", {"a": (1, 2, 3, 3)}),
    ("sym.linalg.gemm2(v('a'), v('b'), name='g')", {"a": (2, 3), "b": (3, 4)}),
    (
        "sym.FullyConnected(v('data', lr_mult=2.0, wd_mult=0.5), num_hidden=3, name='fc', attr={'__mood__': 'angry'})",
        {"data": (2, 3)},
    ),
    ("sym.SequenceMask(v('a'), v('n'), use_sequence_length=True, name='m')", {"a": (3, 2, 4)}),
    ("sym.CTCLoss(v('a'), v('l'), name='ctc')", {"a": (5, 2, 4), "l": (2, 3)}),
    ("sym.pick(v('a'), v('i'), name='p')", {"a": (3, 4)}),
]
# automatic names: evaluated in a fresh name scope
NAMED = [
    "sym.relu(v('a'))",
    "sym.FullyConnected(v('a'), num_hidden=3)",
    "v('a') + v('b')",
    "v('a') * 2",
    "2 - v('a')",
    "v('a') / v('b')",
    "-v('a')",
    "v('a') ** 2",
    "sym.FullyConnected(sym.FullyConnected(v('a'), num_hidden=3), num_hidden=2)",
    "sym.broadcast_add(v('a'), v('b'))",
    "sym.Concat(v('a'), v('b'))",
    "v('a').reshape((2, 3))",
    "sym.BatchNorm(v('a'))",
    "v('a').sum(axis=1)",
    "sym.SliceChannel(v('a'), num_outputs=2)",
    "v('a') > 1",
    "v('a').expand_dims(axis=0)",
]


def evaluate(code: str, names: dict[str, Any]) -> Any:
    *before, last = code.split("; ")
    scope = dict(names)
    for line in before:
        exec(line, scope)
    return eval(last, scope)


def describe(symbol: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "arguments": symbol.list_arguments(),
        "outputs": symbol.list_outputs(),
        "auxiliary": symbol.list_auxiliary_states(),
        "name": symbol.name,
        "internals": symbol.get_internals().list_outputs(),
        "inputs": symbol.list_inputs(),
        "attributes": symbol.attr_dict(),
        "json": symbol.tojson(),
    }
    try:
        found = symbol.infer_shape_partial(**shapes)
        record["partial"] = [[list(s) for s in part] for part in found]
        found = symbol.infer_shape(**shapes)
        record["shapes"] = None if found[0] is None else [[list(s) for s in part] for part in found]
    except Exception as error:
        record["shapes_refused"] = type(error).__name__
    return record


def make() -> None:
    store = Store("symbols")
    names = {"sym": mx.sym, "v": mx.sym.Variable}
    for number, (code, shapes) in enumerate(EXPRESSIONS):
        record: dict[str, Any] = {
            "id": f"expression-{number}",
            "code": code,
            "given": {k: list(s) for k, s in shapes.items()},
        }
        try:
            with mx.name.NameManager():
                record.update(describe(evaluate(code, names), shapes))
        except Exception as error:
            record["refused"] = type(error).__name__
            clear_errors()
        store.add(**record)
    for number, code in enumerate(NAMED):
        with mx.name.NameManager():
            symbol = evaluate(code, names)
        store.add(
            id=f"named-{number}",
            code=code,
            name=symbol.name,
            outputs=symbol.list_outputs(),
            arguments=symbol.list_arguments(),
            json=symbol.tojson(),
        )
    store.write()


if __name__ == "__main__":
    make()
