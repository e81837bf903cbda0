"""Stage `export`: from a run to trained ONNX files, each measured against its budget."""

from latnas.stages.export.config import ExportConfig
from latnas.stages.export.stage import export
from latnas.stages.export.writing import ExportedFile

__all__ = ["ExportConfig", "ExportedFile", "export"]
