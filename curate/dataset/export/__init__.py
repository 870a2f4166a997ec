"""Exports: a version's documents in the formats that other tools read, written aside and renamed."""

from curate.dataset.export.target import FORMATS, ExportResult, export

__all__ = ["FORMATS", "ExportResult", "export"]
