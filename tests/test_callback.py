"""Callbacks: what they write into the log, and when; checkpoints come back as they were saved."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import callback, metric, nd, symbol
from glueball.model import BatchEndParam, load_checkpoint, load_params, save_checkpoint


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def scored() -> metric.EvalMetric:
    """A metric list that has seen one right and one wrong answer."""
    made = metric.create(["acc", "mse"])
    made.update([nd.array([1, 0])], [nd.array([1, 1])])
    return made


def test_speedometer_reports_every_few_batches_and_resets(caplog: pytest.LogCaptureFixture) -> None:
    report, scores = callback.Speedometer(batch_size=8, frequent=2), scored()
    for n in range(5):
        report(BatchEndParam(3, n, scores, None))
    assert [text.split("\t")[0] for text in caplog.messages] == ["Epoch[3] Batch [0-2]", "Epoch[3] Batch [2-4]"]
    assert caplog.messages[0].endswith("\taccuracy=0.500000\tmse=0.500000")
    assert "samples/sec" in caplog.messages[0]
    assert caplog.messages[1].endswith("\taccuracy=nan\tmse=nan")
    assert scores.get_global()[1] == [0.5, 0.5]


def test_speedometer_starts_anew_with_an_epoch(caplog: pytest.LogCaptureFixture) -> None:
    report = callback.Speedometer(batch_size=8, frequent=2, auto_reset=False)
    for epoch, n in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]:
        report(BatchEndParam(epoch, n, None, None))
    assert [text.split("\t")[0] for text in caplog.messages] == ["Epoch[0] Batch [0-2]", "Epoch[1] Batch [0-2]"]


def test_speedometer_refuses_a_period_of_nothing() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        callback.Speedometer(8, frequent=0)


def test_progress_bar(caplog: pytest.LogCaptureFixture) -> None:
    bar = callback.ProgressBar(total=4, length=20)
    for n in range(1, 5):
        bar(BatchEndParam(0, n, None, None))
    assert caplog.messages == [
        "[=====---------------] 25%",
        "[==========----------] 50%",
        "[===============-----] 75%",
        "[====================] 100%",
    ]


def test_metrics_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    scores = scored()
    log = callback.log_train_metric(2, auto_reset=True)
    for n in range(3):
        log(BatchEndParam(1, n, scores, None))
    callback.LogValidationMetricsCallback()(BatchEndParam(3, 1, scored(), None))
    assert caplog.messages == [
        "Iter[1] Batch[0] Train-accuracy=0.500000",
        "Iter[1] Batch[0] Train-mse=0.500000",
        "Iter[1] Batch[2] Train-accuracy=nan",
        "Iter[1] Batch[2] Train-mse=nan",
        "Epoch[3] Validation-accuracy=0.500000",
        "Epoch[3] Validation-mse=0.500000",
    ]


def test_do_checkpoint_saves_every_few_epochs(tmp_path: Path) -> None:
    prefix = str(tmp_path / "net")
    graph = symbol.FullyConnected(symbol.Variable("data"), num_hidden=2, name="fc")
    args, auxes = {"fc_weight": nd.ones((2, 3)), "fc_bias": nd.array([1.0, 2.0])}, {"mean": nd.ones((1,))}
    save = callback.do_checkpoint(prefix, period=2)
    for epoch in range(4):
        save(epoch, graph, args, auxes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net-0002.params", "net-0004.params", "net-symbol.json"]
    loaded, loaded_args, loaded_auxes = load_checkpoint(prefix, 4)
    assert loaded.list_arguments() == graph.list_arguments()
    assert set(loaded_args) == set(args)
    np.testing.assert_array_equal(loaded_args["fc_bias"].asnumpy(), [1, 2])
    assert set(loaded_auxes) == {"mean"}


def test_a_missing_checkpoint_names_what_is_there(tmp_path: Path) -> None:
    prefix = str(tmp_path / "net")
    save_checkpoint(prefix, 2, None, {"w": nd.ones((1,))}, {})
    with pytest.raises(FileNotFoundError, match=r"(?s)net-0007\.params.*Received: net-0002\.params"):
        load_params(prefix, 7)
    with pytest.raises(FileNotFoundError, match="no file of this prefix"):
        load_params(str(tmp_path / "absent" / "net"), 7)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    nd.save(str(tmp_path / "net-0001.params"), {"0.weight": nd.ones((1,))})
    with pytest.raises(ValueError, match=r"(?s)0\.weight.*net\.load_parameters"):
        load_params(str(tmp_path / "net"), 1)


def test_module_checkpoint_asks_the_object() -> None:
    calls = []

    class Module:
        def save_checkpoint(self, *arguments: Any) -> None:
            calls.append(arguments)

    save = callback.module_checkpoint(Module(), "net", period=2, save_optimizer_states=True)
    for epoch in range(3):
        save(epoch)
    assert calls == [("net", 2, True)]
