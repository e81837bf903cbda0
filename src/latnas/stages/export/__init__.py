"""Stage `export`: from a run to trained ONNX files, each measured against its budget, then and whenever asked."""

from latnas.stages.export.config import ExportConfig
from latnas.stages.export.stage import export
from latnas.stages.export.verified import LostExport, VerifiedFile, VerifiedRun
from latnas.stages.export.verify import VerifyConfig, verify
from latnas.stages.export.writing import ExportedFile, RefusedError, advice_of

__all__ = [
    "ExportConfig",
    "ExportedFile",
    "LostExport",
    "RefusedError",
    "VerifiedFile",
    "VerifiedRun",
    "VerifyConfig",
    "advice_of",
    "export",
    "verify",
]
