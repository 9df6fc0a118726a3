"""`mx.contrib.onnx`: where code of MXNet 1.x looks for ONNX; what is there stands in gluon/contrib/onnx.py."""

from __future__ import annotations

from ..gluon.contrib.onnx import export_model, get_model_metadata, import_model, import_to_gluon

__all__ = ["export_model", "get_model_metadata", "import_model", "import_to_gluon"]
