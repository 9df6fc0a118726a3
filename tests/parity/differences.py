"""Where Glueball deliberately differs from the golden results, and why: the one table.

A part of docs/differences.md is made from it (`python tests/parity/differences.py` prints that part).

A `match` is a case's id, or its beginning followed by `*`. `kind` is "value" (we answer, differently; also: we answer
where the oracle refuses) or "raises" (we refuse where the oracle answers). An entry that no longer differs fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Difference:
    """One deliberate difference: golden topic, cases, kind, the reason in words, and the only way in which it shows."""

    topic: str
    match: tuple[str, ...]
    kind: Literal["value", "raises"]
    reason: str
    way: str = ""  # "eager", "symbolic", "hybridized"; empty: all of them


NO_GRADIENT = (
    "No gradient passes through this operator's result; a backward pass that starts there is an error instead of zeros."
)

CLASS = "The error is of another class (MXNetError, or the built-in one that fits)."
SELU = "The gradient of selu is the derivative of its forward; that of 1.9.1 is not."
AVERAGE = (
    "Average pooling with pooling_convention='full' has the gradient of its forward; "
    "that of 1.9.1 divides cut windows by another count."
)
CPU_ONLY = (
    "1.9.1 refuses this on the CPU (layout NHWC, target_shape, convention 'same' in one dimension); we compute it."
)

# fmt: off
DIFFERENCES: tuple[Difference, ...] = (
    Difference("ops_vision", ("image.flip_left_right-0",), "value",
        "The gradient of a flip is the flipped gradient; 1.9.1 passes it on as it is."),
    Difference("ops_vision", ("image.resize-0", "image.resize-1",), "value",
        (
            "Bytes are interpolated in float32 and rounded; OpenCV computes with 11 bits, so that a "
            "byte may differ by one."
        )),
    Difference("ops_vision", ("contrib.box_nms-5",), "value",
        "The gradient of box_nms passes through the change of box format; 1.9.1 ignores it."),
    Difference("ops_vision", ("contrib.MultiBoxDetection-2",), "value",
        (
            "Rows beyond nms_topk are marked -1 and keep their own boxes; 1.9.1 leaves what lay there"
            " before sorting."
        )),
    Difference("ops_math", (
        "ones_like-0", "ones_like-1", "zeros_like-0", "zeros_like-1", "logical_not-0", "contrib.is*",
        "broadcast_equal-0", "broadcast_not_equal-0", "broadcast_greater-0", "broadcast_greater_equal-0",
        "broadcast_lesser-0", "broadcast_lesser_equal-0", "broadcast_logical_and-0", "broadcast_logical_or-0",
        "broadcast_logical_xor-0", "equal-*", "not_equal-*", "greater-*", "greater_equal-*", "lesser-*",
        "lesser_equal-*", "logical_and-*", "logical_or-*", "logical_xor-*",
    ), "raises",
        NO_GRADIENT, "eager"),
    Difference("ops_index", ("topk-0", "topk-1", "topk-4", "topk-5", "topk-6", "topk-7",), "raises",
        NO_GRADIENT, "eager"),
    Difference("ops_math", ("amp_multicast*",), "value",
        "The 1.9.1 wheel refuses mixed float16 and float32 on the CPU; we cast."),
    Difference("ops_math", ("broadcast_power-4",), "value",
        "The gradient of x^y at x = 0, y = 0 is 0, not NaN."),
    Difference("ops_reduce", ("prod-6",), "value",
        "The gradient of prod is right where an element is 0; 1.9.1 divides by it and gives NaN."),
    Difference("ops_reduce", ("cumsum-2",), "value",
        "cumsum takes a negative axis."),
    Difference("ops_shape", ("transpose-3", "slice_like-2",), "value",
        "Negative axes are accepted."),
    Difference("ops_shape", ("pad-4", "pad-5",), "value",
        "Padding works on every axis and for arrays of any rank."),
    Difference("ops_index", ("contrib.allclose*",), "value",
        "A full reduction has the shape (1,), here too."),
    Difference("ops_index", ("contrib.boolean_mask-1",), "value",
        "boolean_mask works along every axis."),
    Difference("ops_nn", ("BatchNorm-8", "BatchNorm-9", "LayerNorm-2",), "raises",
        (
            "The mean and variance that output_mean_var adds carry no gradient; head gradients for "
            "them are an error."
        ), "eager"),
    Difference("ops_nn", ("BatchNorm-0", "BatchNorm-1",), "value",
        "fix_gamma=True computes with 1 and leaves the given gamma as it is; 1.9.1 writes ones into it.", "eager"),
    Difference("ops_nn", ("LeakyReLU-4", "LeakyReLU-5",), "value",
        SELU),
    Difference("ops_nn", ("softmax-5", "log_softmax-5", "softmin-5",), "value",
        "dtype='float32' for float16 data computes in float32; 1.9.1 rounds to float16 on the way."),
    Difference("ops_nn", ("SoftmaxActivation-0",), "value",
        (
            "mode='instance' is the softmax of the last axis, and so is its gradient; 1.9.1 "
            "differentiates along axis 1."
        )),
    Difference("ops_nn", ("SoftmaxOutput-14",), "value",
        "out_grad=True multiplies by the head gradient; 1.9.1 multiplies by the output instead."),
    Difference("ops_nn", ("SoftmaxOutput-18",), "value",
        "Data of three axes without multi_output is accepted as in the flattened form."),
    Difference("ops_nn", ("Pooling-15",), "value",
        AVERAGE),
    Difference("ops_nn", ("Convolution-8", "Deconvolution-5", "Pooling-10", "Pooling-22", "Pooling-34",), "value",
        CPU_ONLY),
    Difference("ops_rnn", ("RNN-25",), "value",
        "use_sequence_length is honoured; the CPU kernel of 1.9.1 ignores the lengths."),
    Difference("ops_rnn", ("RNN-26",), "value",
        "LSTM projections work on the CPU; 1.9.1 refuses them."),
    Difference("ops_rnn", ("RNN-27",), "raises",
        "lstm_state_clip_* is refused: the fused kernels do not clip."),
    Difference("ops_linalg", ("linalg.syevd*",), "value",
        "The sign of an eigenvector is arbitrary; ours are those of LAPACK as PyTorch calls it."),
    Difference("ops_linalg", ("contrib.group_adagrad_update-0",), "value",
        "group_adagrad_update works on the CPU; 1.9.1 has it for sparse gradients only."),
    Difference("layers", ("nn.SELU-0",), "value",
        SELU),
    Difference("layers", ("nn.Conv2D-3",), "value",
        CPU_ONLY, "eager"),
    Difference("layers", ("nn.AvgPool2D-2",), "value",
        AVERAGE),
    Difference("layers", ("nn.BatchNorm-2",), "value",
        "BatchNorm(scale=False) computes with 1 and leaves gamma as it is; 1.9.1 writes ones into it."),
    Difference("losses", ("loss.PoissonNLLLoss-2",), "value",
        "compute_full=True works for labels of every rank; 1.9.1 refuses it.", "eager"),
    Difference("optimizers", ("nadam-24", "nadam-26",), "value",
        (
            "Nadam's product of momenta follows each weight's own count; 1.9.1 multiplies one shared "
            "number on for every weight."
        )),
    Difference("optimizers", ("dcasgd-40",), "value",
        "DCASGD with momentum works; 1.9.1 raises ValueError."),
    Difference("initializers", ("described-x_running*", "plain-x_running*", "described-x_moving*",), "value",
        "Names of running statistics get zeros and ones from every initialiser, described or plain."),
    Difference("metrics", ("perplexity-21",), "value",
        "Perplexity takes (batch, time, classes) with labels (batch, time)."),
    Difference("metrics", ("pearsonr-23",), "value",
        (
            "PearsonCorrelation(average='micro') counts globally and locally like every metric; 1.9.1"
            " loses the global value."
        )),
    Difference("facts", (
        "read: x[1.5]", "read: x['a']", "arithmetic: float(v)", "methods: m.transpose(1, 0)", "methods: v.item(0)",
        "gluon: net = nn.Dense(3, in_units=2); net.initialize(); net.weight.set_data(nd.ones((2*",
        "gluon: gluon.rnn.LSTM(3, layout='XYZ')", "gluon: nn.Conv2D(3, 3, layout='NCW')", "errors: nd.relu()",
        "errors: nd.relu('a')", "errors: nd.load('/no/such/file')", "errors: sym.load('/no/such/file')",
        "errors: sym.relu(sym.Variable('a'), sym.Variable('b'))", "errors: sym.relu(v)",
        "errors: sym.FullyConnected(sym.Variable('a'), num_hidden=3, name='f').eval(a=m)",
        "errors: bool(sym.Variable('a'))", "errors: mx.cpu('a')", "errors: mx.Context('tpu')",
        "errors: mx.init.create('nonsense')", "errors: mx.metric.create('nonsense')",
    ), "value",
        CLASS),
    Difference("facts", (
        "read: v[[True, False, True, False, True]]", "read: v[np.array([True, False, True, False, True])]",
        "read: x[True]",
    ), "value",
        (
            "A list or NumPy array of booleans selects where it is true, as in NumPy; 1.9.1 takes 0 "
            "and 1 as positions."
        )),
    Difference("facts", (
        "arithmetic: m + np.array([1, 2, 3])", "arithmetic: m + [1, 2, 3]", "errors: nd.relu(np.ones((2,)))",
        "creation: nd.array([nd.array([1]), nd.array([2])])",
    ), "value",
        "NumPy arrays and lists are taken as operands."),
    Difference("facts", ("arithmetic: float(nd.array([2.5]))", "arithmetic: int(nd.array([2.5]))",), "value",
        "An array of one element turns into a Python number."),
    Difference("facts", ("methods: m.tolist()",), "value",
        "Methods that NumPy users expect exist."),
    Difference("facts", ("methods: m.as_np_ndarray().shape",), "raises",
        "There is no np interface: mxnet.np arrays are not part of Glueball."),
    Difference("facts", ("methods: repr(nd.zeros((0,)))", "creation: nd.zeros(())",), "value",
        "Arrays with a size of 0 and scalar shapes are ordinary arrays."),
    Difference("facts", ("methods: m.broadcast_axes(axis=0, size=2)",), "value",
        "broadcast_axes to the size that is there already is allowed."),
    Difference("facts", ("creation: nd.zeros((1,), ctx=mx.cpu(1)) + nd.zeros((1,), ctx=mx.cpu(0))",), "raises",
        "cpu(0) and cpu(1) are two devices; their arrays do not mix."),
    Difference("facts", ("autograd: v.attach_grad(); g = v.grad; with autograd.record(*",), "value",
        "x.grad is one object as long as it is attached; 1.9.1 makes a new handle at each look."),
    Difference("facts", ("autograd: v.attach_grad(); with autograd.record():;     a = v * 2; a*",), "value",
        "The same array twice among the heads counts twice; 1.9.1 forgets the first head gradient."),
    Difference("facts", (
        "autograd: v.attach_grad(); with autograd.record():;     y = v * v * v;     g = autograd.grad(y, v*",
        "autograd: v.attach_grad(); with autograd.record():;     y = v * v * v;     g = autograd.grad(y, [*",
    ), "value",
        "Every operator that has a gradient has a gradient of it; 1.9.1 lacks that of multiplication."),
    Difference("facts", ("autograd: v.attach_grad(); with autograd.record():;     y = nd.a*",), "raises",
        NO_GRADIENT),
    Difference("facts", ("gluon: net = nn.Dense(3); net(nd.ones((1, 2)))",), "value",
        "A network that was never initialised is initialised at its first call."),
    Difference("facts", ("gluon: class Net(gluon.HybridBlock):;     def hybrid_forward(self, F, x, y*",), "value",
        "A hybridized block is traced anew for each structure of its arguments, None among them."),
    Difference("facts", ("errors: nd.relu(v, axis=1)",), "raises",
        "An argument that the operator does not have is an error; 1.9.1 passes over it."),
    Difference("facts", ("errors: nd.FullyConnected(m, nd.ones((2, 3)), num_hidden=2)",), "value",
        "A bias that is not given is no bias."),
    Difference("facts", (
        "errors: nd.one_hot(v, depth=0)", "errors: nd.array(None)", "errors: init.Xavier(factor_type='nonsense')",
        "errors: mx.kv.create('nonsense')",
    ), "raises",
        "An argument that cannot be meant is an error where it is given."),
    Difference("facts", ("executors: s = sym.Group([sym.Variable('a') * 2, sym.Variabl*",), "value",
        "A Group evaluates as its parts do."),
    Difference("facts", (
        "executors: sym.Variable('a', shape=(2, 3), dtype='float64', l*",
        "executors: with mx.AttrScope(ctx_group='dev1', __x__='1'):;     a*",
    ), "value",
        "Attributes of variables appear once, under their hidden names (`__lr_mult__`)."),
    Difference("symbols", ("expression-3",), "value",
        (
            "A weight whose shape is given says nothing about the data; the answer is (None, None, "
            "None), with a warning."
        )),
    Difference("ops_scalar", (
        "equal-0", "not_equal-0", "greater-0", "greater_equal-0", "lesser-0", "lesser_equal-0",
    ), "raises",
        NO_GRADIENT, "eager"),
    Difference("ops_vision", ("contrib.fft-0", "contrib.ifft-0", "contrib.count_sketch-0",), "value",
        "1.9.1 has these operators for GPUs only; we compute them on the CPU, too."),
    Difference("ops_index", ("histogram-*",), "raises",
        "histogram is an nd function only; it has no place in a graph.", "symbolic"),
    Difference("symbols", ("expression-33", "expression-47",), "value",
        "infer_shape_partial tells what follows; 1.9.1 tells a little more for stack, and less for where."),
    Difference("facts", ("more: m.as_in_ctx(mx.cpu()).shape",), "value",
        "Methods that NumPy users expect, and those of later MXNet versions, exist."),
    Difference("facts", ("more: class Plus(mx.operator.CustomOp):;     def forward(sel*",), "value",
        (
            "The outputs of a Custom operator are numbered in a graph; 1.9.1 uses the names that the "
            "operator lists."
        )),
    Difference("facts", ("more: x.attach_grad(); with autograd.record():;     y = nd.F*",), "raises",
        NO_GRADIENT),
)
# fmt: on


def find(topic: str, name: str, way: str = "") -> Difference | None:
    """The entry for a case, or None."""
    for entry in DIFFERENCES:
        if entry.topic != topic or (entry.way and entry.way != way):
            continue
        for match in entry.match:
            if match == name or (match.endswith("*") and name.startswith(match[:-1])):
                return entry
    return None


AREAS = {
    "ops_": "Operators",
    "layers": "Layers and losses", "recurrent": "Layers and losses", "losses": "Layers and losses",
    "optimizers": "Training", "schedules": "Training", "initializers": "Training", "metrics": "Training",
    "facts": "Arrays, autograd, blocks, errors", "symbols": "Symbols", "model_zoo": "Model zoo", "files": "Files",
}  # fmt: skip
BEGIN, END = "<!-- begin: tests/parity/differences.py -->", "<!-- end: tests/parity/differences.py -->"


def as_markdown() -> str:
    """The part of docs/differences.md between the markers: the reasons by area, each once."""
    lines: list[str] = []
    for area in dict.fromkeys(AREAS.values()):
        topics = [key for key, value in AREAS.items() if value == area]
        reasons = dict.fromkeys(d.reason for d in DIFFERENCES if d.topic.startswith(tuple(topics)))
        if reasons:
            lines += ["", f"**{area}**", "", *(f"- {reason}" for reason in reasons)]
    return "\n".join([BEGIN, *lines, "", END])


if __name__ == "__main__":
    print(as_markdown())
