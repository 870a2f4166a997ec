"""Exports: a version's documents in the formats that other tools read, written aside and renamed."""

from curate.dataset.export.target import FORMATS, ExportResult, export, export_folder

__all__ = ["FORMATS", "ExportResult", "export", "export_folder"]
