"""Files that the oracle wrote: `.params` of every style, `-symbol.json` exports; read, run, written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import reader
from support import array, checked, same

import glueball as mx

FILES = reader.DATA.parent / "files"
CASES = {case["id"]: case for case in reader.load("files")}
NETWORKS = [name for name, case in CASES.items() if case["kind"] == "network"]
SAVED = [name for name, case in CASES.items() if case["kind"] != "network"]


def imported(name: str) -> Any:
    return mx.gluon.SymbolBlock.imports(
        str(FILES / f"{name}-symbol.json"), ["data"], str(FILES / f"{name}-0003.params")
    )


@pytest.mark.parametrize("hybridize", [False, True], ids=["eager", "hybridized"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_export_is_imported_and_gives_the_same_numbers(name: str, hybridize: bool) -> None:
    case = CASES[name]

    def compare() -> None:
        net = imported(name)
        if hybridize:
            net.hybridize()
        x = array(case["input"])
        same(net(x), case["output"], "output")
        if "head" not in case:
            return
        x.attach_grad()
        with mx.autograd.record():
            y = net(x)
        y.backward(array(case["head"]))
        same(x.grad, case["input_grad"], "gradient of the input")

    checked("files", name, compare)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_symbol_file_lists_the_same_names(name: str, tmp_path: Path) -> None:
    case = CASES[name]

    def compare() -> None:
        symbol = mx.sym.load(str(FILES / f"{name}-symbol.json"))
        assert symbol.list_arguments() == case["arguments"]
        assert symbol.list_auxiliary_states() == case["auxiliary"]
        assert symbol.list_outputs() == case["outputs"]
        symbol.save(str(tmp_path / "again.json"))
        again = mx.sym.load(str(tmp_path / "again.json"))
        assert again.list_arguments() == case["arguments"]
        theirs = json.loads((FILES / f"{name}-symbol.json").read_text())["nodes"]
        ours = json.loads((tmp_path / "again.json").read_text())["nodes"]
        assert [(n["op"], n["name"]) for n in ours] == [(n["op"], n["name"]) for n in theirs]

    checked("files symbol", name, compare)


@pytest.mark.parametrize("name", NETWORKS)
def test_params_are_written_byte_for_byte(name: str, tmp_path: Path) -> None:
    for style in ("0003", "structural", "prefixed"):
        source = FILES / f"{name}-{style}.params"
        mx.nd.save(str(tmp_path / "again.params"), mx.nd.load(str(source)))
        assert (tmp_path / "again.params").read_bytes() == source.read_bytes(), style


@pytest.mark.parametrize("name", NETWORKS)
def test_the_three_key_styles(name: str) -> None:
    case = CASES[name]
    assert list(mx.nd.load(str(FILES / f"{name}-structural.params"))) == case["structural"]
    assert list(mx.nd.load(str(FILES / f"{name}-prefixed.params"))) == case["names"]
    exported = mx.nd.load(str(FILES / f"{name}-0003.params"))
    assert {key.split(":")[1] for key in exported} == set(case["arguments"] + case["auxiliary"]) - {"data"}


def resnet(version: int) -> Any:
    vision = mx.gluon.model_zoo.vision
    kinds = {1: (vision.ResNetV1, vision.BasicBlockV1), 2: (vision.ResNetV2, vision.BasicBlockV2)}
    net, block = kinds[version]
    return net(block, [1, 1], [4, 4, 8], classes=3, thumbnail=True, prefix=f"rv{version}_")


def mlp() -> Any:
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="mlp_")
    with net.name_scope():
        net.add(nn.Dense(5, activation="relu"), nn.BatchNorm(), nn.Dropout(0.3), nn.Dense(3))
    return net


def lstm() -> Any:
    net = mx.gluon.nn.HybridSequential(prefix="lstmnet_")
    with net.name_scope():
        net.add(
            mx.gluon.rnn.LSTM(4, num_layers=2, bidirectional=True, layout="NTC"), mx.gluon.nn.Dense(2, flatten=False)
        )
    return net


BUILT = {"mlp": mlp, "resnetv1": lambda: resnet(1), "resnetv2": lambda: resnet(2), "lstm": lstm}


@pytest.mark.parametrize("style", ["structural", "prefixed", "exported"])
@pytest.mark.parametrize("name", list(BUILT))
def test_parameters_load_into_the_same_network(name: str, style: str) -> None:
    case = CASES[name]

    def compare() -> None:
        with mx.name.NameManager():
            net = BUILT[name]()
        if style == "structural":
            net.load_parameters(str(FILES / f"{name}-structural.params"))
        elif style == "prefixed":
            net.collect_params().load(str(FILES / f"{name}-prefixed.params"))
        else:
            net.collect_params().load(str(FILES / f"{name}-0003.params"))
        same(net(array(case["input"])), case["output"], "output")

    checked("files", f"{name}-{style}", compare)


@pytest.mark.parametrize("name", SAVED)
def test_saved_arrays(name: str, tmp_path: Path) -> None:
    case = CASES[name]

    def compare() -> None:
        loaded = mx.nd.load(str(FILES / f"{name}.params"))
        golden = case["values"]
        assert isinstance(loaded, type(golden))
        pairs = (
            zip(loaded, golden, strict=True) if isinstance(golden, list) else [(loaded[k], golden[k]) for k in golden]
        )
        for ours, theirs in pairs:
            dense = ours.tostype("default") if getattr(ours, "stype", "default") != "default" else ours
            same(dense, theirs, name)
        if case["kind"] != "sparse" and name != "npshape":
            mx.nd.save(str(tmp_path / "again.params"), loaded)
            assert (tmp_path / "again.params").read_bytes() == (FILES / f"{name}.params").read_bytes()

    checked("files", name, compare)


def test_a_truncated_file_is_refused() -> None:
    whole = (FILES / "mlp-structural.params").read_bytes()
    for size in numpy.linspace(1, len(whole) - 1, 23).astype(int):
        with pytest.raises(mx.base.MXNetError):
            mx.nd.load_frombuffer(whole[:size])
