"""The table of ONNX operators that are read: every case of ONNX's own test suite, counted per operator.

    python tools/onnx_operators.py                 # prints the table; exit status 1 where a case fails
    python tools/onnx_operators.py --write         # writes docs/onnx_operators.md
    python tools/onnx_operators.py Conv Resize     # only these operators, each failure with its text

A case passes (same shape, element type and numbers, by the suite's own comparison), is refused (with the reason), or
fails: the last must not happen. `python -m pytest tests/onnx` runs a chosen part.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import sys
import unittest
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "onnx_operators.md"
# Cases that ask for less rounding than the order of the same sum leaves: 0 exactly, a sum of products in float16
ROUNDING = {"test_basic_deform_conv_with_padding": {"atol": 1e-6},
            "test_attention_4d_causal_fp16_expanded": {"rtol": 2e-3}}


class Outcome(NamedTuple):
    """What became of one case."""

    name: str
    operator: str
    opset: int
    state: str  # "passed", "refused" or "failed"
    reason: str


class _Result(unittest.TestResult):
    """Collects states by the test's name."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, tuple[str, str]] = {}

    def _put(self, test: unittest.TestCase, state: str, reason: str = "") -> None:
        self.states[test.id().rsplit(".", 1)[-1].removesuffix("_cpu")] = (state, reason)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._put(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._put(test, "refused", reason)

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        self._put(test, "failed", str(err[1]))  # type: ignore[index]

    def addError(self, test: unittest.TestCase, err: object) -> None:
        self.addFailure(test, err)


def outcomes(only: Iterable[str] = (), kinds: Iterable[str] = ("node", "simple", "pytorch-converted",
                                                             "pytorch-operator")) -> list[Outcome]:
    """Run the cases of ONNX's suite (of some operators, or all) and return what became of them."""
    warnings.simplefilter("ignore")
    from onnx.backend.test.loader import load_model_tests
    from onnx.backend.test.runner import Runner

    from glueball.onnx.backend import GlueballBackend

    class Asked(GlueballBackend):
        """Says why a model is not read, where the runner would only ask whether it is."""

        @classmethod
        def is_compatible(cls, model: object, device: str = "CPU", **kwargs: object) -> bool:
            return True

    runner, wanted = Runner(Asked, __name__, ROUNDING), set(only)
    cases = {case.name: (case, kind) for kind in kinds for case in load_model_tests(kind=kind)}
    result = _Result()
    for group in runner.test_cases.values():
        for name in dir(group):
            found = cases.get(name.removesuffix("_cpu")) if name.startswith("test_") and name.endswith("_cpu") else None
            if found is not None and (not wanted or operator_of(*found)[0] in wanted):
                group(name).run(result)
    return [Outcome(name, *operator_of(*cases[name]), *state) for name, state in sorted(result.states.items())]


def operator_of(case: object, kind: str) -> tuple[str, int]:
    """Return the operator that a case is about, and its operator set."""
    if case.model is None:  # type: ignore[attr-defined]
        return kind, 9
    model = case.model  # type: ignore[attr-defined]
    versions = {entry.domain: entry.version for entry in model.opset_import}
    domains = {node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    name = case.name  # type: ignore[attr-defined]
    if domains or any(domain not in ("", "ai.onnx") for domain in versions):
        return "other domains", 0
    if name.endswith("_expanded") or "_expanded_" in name:
        return "operators written out", versions.get("", 0)
    kinds = collections.Counter(node.op_type for node in model.graph.node)
    if len(kinds) == 1:
        return next(iter(kinds)), versions.get("", 0)
    return "graphs of several operators", versions.get("", 0)


_HEAD = """# ONNX operators that are read

<!-- Written by tools/onnx_operators.py --write: edit that. -->

`glueball.onnx.import_model` reads the operators below, of operator sets 1 to 28 ([how](portability.md#reading-onnx)).
Each was held to the cases of ONNX's own test suite ({version}): shape, element type and numbers of the result, by the
suite's comparison. What is not read is refused when the model is loaded, with its reason; no case gives other numbers.

{passed} of {total} cases pass and {refused} are refused; {failed} fail.

| operator | passed | refused | what is refused |
|---|---|---|---|
"""


def page(found: Sequence[Outcome]) -> str:
    """Return docs/onnx_operators.md."""
    import onnx

    from glueball.onnx.read.operators import IMPORTERS

    rows = _by_operator(found)
    states = collections.Counter(one.state for one in found)
    text = _HEAD.format(version=f"onnx {onnx.__version__}", total=len(found), **{
        state: states[state] for state in ("passed", "refused", "failed")})
    for operator in sorted({name for _, name in IMPORTERS}):
        text += row(operator, rows.get(operator, []))
    others = {"graphs of several operators", "pytorch-converted", "pytorch-operator", "simple", "operators written out",
              "other domains"}
    text += "\n## Cases of more than one operator\n\n| group | passed | refused | what is refused |\n"
    text += "|---|---|---|---|\n"
    text += "".join(row(name, rows[name]) for name in sorted(others & set(rows)))
    absent = sorted(name for name in rows if ("", name) not in IMPORTERS and name not in others)
    return f"{text}\n## Operators that are not read\n\n{', '.join(absent)}, and what has no case in the suite.\n"


def row(operator: str, cases: Sequence[Outcome]) -> str:
    """Return the line of one operator."""
    states = collections.Counter(case.state for case in cases)
    reasons = sorted({_short(case.reason) for case in cases if case.state == "refused"})
    shown = "; ".join(reasons[:4]) + ("; ..." if len(reasons) > 4 else "")
    if not cases:
        shown = "(no case of its own)"
    return f"| {operator} | {states['passed']} | {states['refused']} | {shown} |\n"


def _short(reason: str) -> str:
    """What is special about a refusal, without names of values."""
    found = re.search(r"The element type (\w+) is not supported", reason)
    if found:
        return f"numbers of type {re.sub('[0-9].*', '', found[1]).lower()} of fewer bits" if re.match(
            "U?INT|FLOAT", found[1]) else f"{found[1].lower()}s"
    lines = re.findall(r"^ *([\w.]+) \('.*?'\): (.*)$", reason, re.MULTILINE)
    missing = sorted({name for name, why in lines if "no rule" in why})
    if missing:
        return f"{', '.join(missing)} inside"
    text = lines[0][1] if lines else reason.splitlines()[0].split(": ", 1)[-1]
    return re.sub(r"\s+", " ", text).replace("|", "/")[:90]


def _by_operator(found: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    rows: dict[str, list[Outcome]] = collections.defaultdict(list)
    for one in found:
        rows[one.operator].append(one)
    return rows


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operators", nargs="*")
    parser.add_argument("--write", action="store_true", help="write docs/onnx_operators.md")
    parser.add_argument("--reasons", action="store_true", help="print why cases were refused")
    arguments = parser.parse_args()
    found = outcomes(arguments.operators)
    if arguments.write:
        PAGE.write_text(page(found), encoding="utf-8")
    for operator, cases in sorted(_by_operator(found).items()):
        states = collections.Counter(case.state for case in cases)
        print(f"{operator:32s} passed {states['passed']:4d}  refused {states['refused']:4d}  "
              f"failed {states['failed']:4d}")
        for case in cases:
            if case.state == "failed" or (case.state == "refused" and (arguments.reasons or arguments.operators)):
                reason = re.sub(r"\s+", " ", case.reason)[:300]
                print(f"    {case.state} {case.name} (operator set {case.opset}): {reason}")
    total = collections.Counter(one.state for one in found)
    print(f"{'all':32s} passed {total['passed']:4d}  refused {total['refused']:4d}  failed {total['failed']:4d}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
