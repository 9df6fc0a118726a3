"""Golden cases: network operators (dense, convolution, pooling, normalisation, softmax, outputs, recurrent)."""

from __future__ import annotations

from operator_cases import case, d, distinct, f, i, run, u


def dense() -> list:
    out = [
        case("FullyConnected", [f(2, 3, 4), f(5, 12), f(5)], num_hidden=5),
        case("FullyConnected", [f(2, 4), f(5, 4)], num_hidden=5, no_bias=True),
        case("FullyConnected", [f(2, 3, 4), f(5, 4), f(5)], num_hidden=5, flatten=False),
        case(
            "FullyConnected", [f(2, 3, dtype="float64"), f(2, 3, dtype="float64"), f(2, dtype="float64")], num_hidden=2
        ),
        case("FullyConnected", [f(2, 3), f(5, 4), f(5)], num_hidden=5),
    ]
    for act in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
        out += [
            case("Activation", [f(3, 4)], act_type=act),
            case("Activation", [f(2, 3, dtype="float64")], act_type=act),
        ]
    for act in ("leaky", "elu", "selu", "gelu"):
        out += [case("LeakyReLU", [f(3, 4)], act_type=act), case("LeakyReLU", [f(2, 3, 2)], act_type=act, slope=0.1)]
    out += [
        case("LeakyReLU", [f(2, 3, 4), u(0.1, 0.4, 3)], act_type="prelu"),
        case("LeakyReLU", [f(2, 3), u(0.1, 0.4, 1)], act_type="prelu"),
    ]
    return out


def convolutions() -> list:
    out = [
        case("Convolution", [f(2, 3, 5), f(4, 3, 3), f(4)], kernel=(3,), num_filter=4),
        case(
            "Convolution", [f(2, 4, 7), f(4, 2, 3), f(4)], kernel=(3,), num_filter=4, num_group=2, stride=(2,), pad=(1,)
        ),
        case("Convolution", [f(2, 3, 5, 6), f(4, 3, 3, 2), f(4)], kernel=(3, 2), num_filter=4),
        case(
            "Convolution",
            [f(2, 3, 7, 6), f(4, 3, 3, 3)],
            kernel=(3, 3),
            num_filter=4,
            stride=(2, 1),
            pad=(1, 2),
            no_bias=True,
        ),
        case(
            "Convolution",
            [f(1, 4, 7, 7), f(6, 2, 3, 3), f(6)],
            kernel=(3, 3),
            num_filter=6,
            num_group=2,
            dilate=(2, 2),
            pad=(2, 2),
        ),
        case("Convolution", [f(1, 4, 5, 5), f(4, 1, 3, 3), f(4)], kernel=(3, 3), num_filter=4, num_group=4, pad=(1, 1)),
        case(
            "Convolution",
            [f(1, 2, 4, 4, 5), f(3, 2, 2, 3, 3), f(3)],
            kernel=(2, 3, 3),
            num_filter=3,
            pad=(0, 1, 1),
            stride=(1, 2, 1),
        ),
        case(
            "Convolution",
            [f(1, 2, 4, 4, 4), f(4, 1, 3, 3, 3), f(4)],
            kernel=(3, 3, 3),
            num_filter=4,
            num_group=2,
            dilate=(1, 1, 1),
            pad=(1, 1, 1),
        ),
        case("Convolution", [f(2, 5, 6, 3), f(4, 3, 3, 3), f(4)], kernel=(3, 3), num_filter=4, layout="NHWC"),
        case("Convolution", [f(2, 3, 5, 5), f(4, 3, 1, 1), f(4)], kernel=(1, 1), num_filter=4, stride=(2, 2)),
        case("Convolution", [f(2, 3, 5, 5), f(4, 2, 3, 3), f(4)], kernel=(3, 3), num_filter=4),
    ]
    out += [
        case("Deconvolution", [f(2, 3, 4), f(3, 4, 3)], kernel=(3,), num_filter=4),
        case("Deconvolution", [f(2, 3, 4, 5), f(3, 4, 3, 3)], kernel=(3, 3), num_filter=4),
        case(
            "Deconvolution",
            [f(2, 3, 4, 5), f(3, 4, 3, 3), f(4)],
            kernel=(3, 3),
            num_filter=4,
            stride=(2, 2),
            pad=(1, 1),
            adj=(1, 1),
            no_bias=False,
        ),
        case(
            "Deconvolution",
            [f(1, 4, 3, 3), f(4, 2, 4, 4), f(4)],
            kernel=(4, 4),
            num_filter=4,
            stride=(2, 2),
            pad=(1, 1),
            num_group=2,
            no_bias=False,
        ),
        case("Deconvolution", [f(1, 3, 3, 3), f(3, 2, 3, 3)], kernel=(3, 3), num_filter=2, dilate=(2, 2)),
        case(
            "Deconvolution",
            [f(1, 3, 3, 3), f(3, 2, 3, 3)],
            kernel=(3, 3),
            num_filter=2,
            stride=(2, 2),
            target_shape=(6, 6),
        ),
        case("Deconvolution", [f(1, 2, 3, 3, 3), f(2, 2, 2, 2, 2)], kernel=(2, 2, 2), num_filter=2, stride=(2, 2, 2)),
    ]
    return out


def poolings() -> list:
    out = []
    for kind in ("max", "avg", "sum"):
        x = distinct(1, 2, 7, 6)
        out += [
            case("Pooling", [x], kernel=(2, 2), stride=(2, 2), pool_type=kind),
            case("Pooling", [x], kernel=(3, 3), pool_type=kind),
            case("Pooling", [x], kernel=(3, 2), stride=(2, 2), pad=(1, 1), pool_type=kind),
            case("Pooling", [x], kernel=(3, 3), stride=(2, 2), pool_type=kind, pooling_convention="full"),
            case("Pooling", [x], kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type=kind, pooling_convention="full"),
            case("Pooling", [x], global_pool=True, pool_type=kind, kernel=(1, 1)),
            case("Pooling", [x], global_pool=True, pool_type=kind),
            case("Pooling", [distinct(2, 3, 7)], kernel=(3,), stride=(2,), pad=(1,), pool_type=kind),
            case("Pooling", [distinct(1, 2, 4, 5, 4)], kernel=(2, 2, 2), stride=(2, 2, 2), pool_type=kind),
            case("Pooling", [distinct(1, 2, 3, 4, 3)], global_pool=True, pool_type=kind, kernel=(1, 1, 1)),
            case("Pooling", [distinct(2, 3, 7)], kernel=(3,), stride=(2,), pool_type=kind, pooling_convention="same"),
            case("Pooling", [distinct(1, 5, 6, 2)], kernel=(2, 2), stride=(2, 2), pool_type=kind, layout="NHWC"),
        ]
    out += [
        case(
            "Pooling",
            [f(1, 2, 5, 5)],
            kernel=(3, 3),
            stride=(2, 2),
            pad=(1, 1),
            pool_type="avg",
            count_include_pad=False,
        ),
        case(
            "Pooling",
            [f(1, 2, 6, 6)],
            kernel=(3, 3),
            stride=(2, 2),
            pad=(1, 1),
            pool_type="avg",
            count_include_pad=False,
            pooling_convention="full",
        ),
        case("Pooling", [f(1, 2, 5, 5)], kernel=(3, 3), stride=(2, 2), pool_type="lp", p_value=2),
        case("Pooling", [u(0.2, 2, 1, 2, 5, 5)], kernel=(2, 2), pool_type="lp", p_value=3),
        case("Pooling", [f(2, 3, 6)], kernel=(3,), pad=(1,), pool_type="avg", count_include_pad=False),
    ]
    out += [
        case("UpSampling", [f(1, 2, 3, 3)], scale=2, sample_type="nearest"),
        case("UpSampling", [f(1, 2, 2, 3)], scale=3, sample_type="nearest"),
        case("UpSampling", [f(1, 2, 2, 2), f(1, 3, 4, 4)], scale=2, sample_type="nearest", num_args=2),
        case(
            "UpSampling",
            [f(1, 2, 2, 2), f(1, 2, 4, 4)],
            scale=2,
            sample_type="nearest",
            num_args=2,
            multi_input_mode="sum",
        ),
        case("UpSampling", [f(1, 2, 3, 3), f(2, 1, 4, 4)], scale=2, sample_type="bilinear", num_filter=2, num_args=2),
    ]
    out += [
        case("im2col", [f(1, 2, 4, 5)], kernel=(2, 3), stride=(1, 1)),
        case("im2col", [f(1, 2, 5, 5)], kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
        case("col2im", [f(1, 8, 4)], output_size=(3, 3), kernel=(2, 2), stride=(1, 1)),
    ]
    return out


def normalisations() -> list:
    out = []
    state = [f(3), f(3), f(3), u(0.5, 2, 3)]
    for attrs in (
        {},
        {"fix_gamma": False},
        {"fix_gamma": False, "eps": 1e-5, "momentum": 0.8},
        {"fix_gamma": False, "use_global_stats": True},
        {"fix_gamma": False, "output_mean_var": True},
    ):
        for train in (True, False):
            out.append(case("BatchNorm", [f(2, 3, 4)] + state, _train=train, _grad=[0, 1, 2], **attrs))
    out += [
        case("BatchNorm", [f(4, 3)] + state, _grad=[0, 1, 2], fix_gamma=False),
        case("BatchNorm", [f(2, 3, 2, 2)] + state, _grad=[0, 1, 2], fix_gamma=False),
        case("BatchNorm", [f(2, 2, 4, 3)] + state, _grad=[0, 1, 2], fix_gamma=False, axis=3),
        case("BatchNorm", [f(2, 2, 3)] + state, _grad=[0, 1, 2], fix_gamma=False, axis=-1),
    ]
    out += [
        case("LayerNorm", [f(2, 3, 4), f(4), f(4)]),
        case("LayerNorm", [f(2, 3, 4), f(3), f(3)], axis=1, eps=1e-3),
        case("LayerNorm", [f(3, 4), f(4), f(4)], output_mean_var=True),
        case("LayerNorm", [f(3, 4, dtype="float64"), f(4, dtype="float64"), f(4, dtype="float64")]),
    ]
    out += [
        case("InstanceNorm", [f(2, 3, 4), f(3), f(3)]),
        case("InstanceNorm", [f(2, 3, 4, 2), f(3), f(3)], eps=1e-5),
        case("GroupNorm", [f(2, 4, 3, 2), f(2), f(2)], num_groups=2),
        case("GroupNorm", [f(2, 6, 3), f(3), f(3)], num_groups=3, eps=1e-3),
        case("GroupNorm", [f(2, 4, 3), f(1), f(1)]),
        case("GroupNorm", [f(2, 4, 3), f(4), f(4)], num_groups=2),
    ]
    for mode in ("instance", "channel", "spatial"):
        out += [
            case("L2Normalization", [f(2, 3, 4)], mode=mode),
            case("L2Normalization", [f(2, 3, 2, 2)], mode=mode, eps=0.1),
        ]
    out += [case("LRN", [f(2, 5, 3, 3)], nsize=3), case("LRN", [f(2, 5, 3, 3)], nsize=5, alpha=0.1, beta=0.5, knorm=1)]
    out += [
        case("Dropout", [f(3, 4)], _train=False, p=0.5),
        case("Dropout", [f(3, 4)], p=0.0),
        case("Dropout", [f(3, 4)], _train=False, p=0.3, axes=(0,)),
    ]
    return out


def softmaxes() -> list:
    out = []
    for op in ("softmax", "log_softmax", "softmin"):
        out += [
            case(op, [f(3, 4)]),
            case(op, [f(2, 3, 4)], axis=1),
            case(op, [f(3, 4)], temperature=2.5),
            case(op, [f(2, 3, 4)], axis=0, temperature=0.5),
            case(op, [f(3, 4, dtype="float64")]),
            case(op, [f(3, 4, dtype="float16")], dtype="float32"),
        ]
    out += [
        case("softmax", [f(3, 4), d([1, 4, 2], "int32")], _grad=[0], use_length=True),
        case("softmax", [f(2, 4, 3), i(5, 2, 3, dtype="int32", low=1)], _grad=[0], use_length=True, axis=1),
        case("softmax", [d([[1000, 0], [-1000, -1000]])]),
        case("softmax_cross_entropy", [f(3, 4), d([0, 3, 1])], _grad=[0]),
    ]
    for mode in ("instance", "channel"):
        out += [case("SoftmaxActivation", [f(2, 3, 4)], mode=mode), case("SoftmaxActivation", [f(2, 3)], mode=mode)]
    return out


def outputs() -> list:
    y = d([0, 3, 1])
    out = [
        case("SoftmaxOutput", [f(3, 4), y], _grad=[0]),
        case("SoftmaxOutput", [f(3, 4), y], _grad=[0], grad_scale=0.5),
    ]
    for norm in ("null", "batch", "valid"):
        out += [
            case("SoftmaxOutput", [f(3, 4), y], _grad=[0], normalization=norm),
            case("SoftmaxOutput", [f(3, 4), y], _grad=[0], normalization=norm, use_ignore=True, ignore_label=3),
            case("SoftmaxOutput", [f(2, 3, 4), i(3, 2, 4)], _grad=[0], normalization=norm, multi_output=True),
            case(
                "SoftmaxOutput",
                [f(2, 3, 4), i(3, 2, 4)],
                _grad=[0],
                normalization=norm,
                multi_output=True,
                use_ignore=True,
                ignore_label=1,
            ),
        ]
    out += [
        case("SoftmaxOutput", [f(3, 4), y], _grad=[0], out_grad=True),
        case("SoftmaxOutput", [f(3, 4), y], _grad=[0], smooth_alpha=0.1),
        case("SoftmaxOutput", [f(2, 3, 4), i(4, 2, 3)], _grad=[0], preserve_shape=True),
        case("SoftmaxOutput", [f(3, 4), u(0, 1, 3, 4)], _grad=[0]),
        case("SoftmaxOutput", [f(2, 3, 4), i(4, 2)], _grad=[0]),
        case("Softmax", [f(3, 4), y], _grad=[0]),
        case("SoftmaxOutput", [f(3, 4), y], _train=False, _grad=[0]),
    ]
    for op in ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"):
        out += [
            case(op, [f(3, 4), f(3, 4)], _grad=[0]),
            case(op, [f(3, 4), f(3, 4)], _grad=[0], grad_scale=2.0),
            case(op, [f(3, 1), f(3)], _grad=[0]),
        ]
    out += [
        case("SVMOutput", [f(3, 4), y], _grad=[0]),
        case("SVMOutput", [f(3, 4), y], _grad=[0], margin=0.5, regularization_coefficient=2.0, use_linear=True),
    ]
    ctc = [f(5, 2, 4), d([[1, 2], [2, 2]])]
    out += [
        case("CTCLoss", ctc, _grad=[0]),
        case("ctc_loss", ctc, _grad=[0], blank_label="last"),
        case("CTCLoss", [f(5, 2, 4), d([[1, 0], [2, 3]])], _grad=[0]),
        case("CTCLoss", ctc + [d([4, 5]), d([1, 2])], _grad=[0], use_data_lengths=True, use_label_lengths=True),
        case("CTCLoss", [f(6, 3, 4), d([[0, 1, -1], [2, 2, 0], [1, -1, -1]])], _grad=[0], blank_label="last"),
    ]
    return out


def _packed(gates: int, layers: int, directions: int, inputs: int, hidden: int, projection: int = 0) -> int:
    total, out = 0, projection or hidden
    for layer in range(layers):
        size = inputs if layer == 0 else out * directions
        total += directions * gates * hidden * (size + out + 2)
        total += directions * hidden * projection
    return total


def recurrent() -> list:
    out = []
    for mode, gates in (("rnn_relu", 1), ("rnn_tanh", 1), ("lstm", 4), ("gru", 3)):
        for layers, two in ((1, False), (1, True), (2, False), (2, True)):
            sides = 2 if two else 1
            inputs = [f(3, 2, 3), f(_packed(gates, layers, sides, 3, 4), scale=0.4), f(layers * sides, 2, 4)]
            inputs += [f(layers * sides, 2, 4)] if mode == "lstm" else []
            for want in (True, False) if layers == 1 else (True,):
                out.append(
                    case(
                        "RNN", inputs, state_size=4, num_layers=layers, mode=mode, bidirectional=two, state_outputs=want
                    )
                )
    inputs = [f(3, 2, 3), f(_packed(4, 1, 1, 3, 4), scale=0.4), f(1, 2, 4), f(1, 2, 4)]
    out += [
        case("RNN", inputs, _train=False, state_size=4, num_layers=1, mode="lstm", state_outputs=True),
        case(
            "RNN",
            inputs + [d([2, 3], "int32")],
            _grad=[0, 1],
            state_size=4,
            num_layers=1,
            mode="lstm",
            state_outputs=True,
            use_sequence_length=True,
        ),
        case(
            "RNN",
            [f(3, 2, 3), f(_packed(4, 1, 1, 3, 4, 2), scale=0.4), f(1, 2, 2), f(1, 2, 4)],
            state_size=4,
            num_layers=1,
            mode="lstm",
            state_outputs=True,
            projection_size=2,
        ),
        case(
            "RNN",
            inputs,
            state_size=4,
            num_layers=1,
            mode="lstm",
            state_outputs=True,
            lstm_state_clip_min=-0.2,
            lstm_state_clip_max=0.2,
        ),
    ]
    return out


def attention() -> list:
    return [
        case("contrib.interleaved_matmul_selfatt_qk", [f(3, 2, 12)], heads=2),
        case("contrib.interleaved_matmul_selfatt_valatt", [f(3, 2, 12), f(4, 3, 3)], heads=2),
        case("contrib.interleaved_matmul_encdec_qk", [f(3, 2, 4), f(5, 2, 8)], heads=2),
        case("contrib.interleaved_matmul_encdec_valatt", [f(5, 2, 8), f(4, 3, 5)], heads=2),
        case("contrib.interleaved_matmul_selfatt_qk", [f(2, 1, 9)], heads=1),
    ]


def make() -> None:
    run("ops_nn", dense() + convolutions() + poolings() + normalisations() + softmaxes() + outputs() + attention())
    run("ops_rnn", recurrent())


if __name__ == "__main__":
    make()
