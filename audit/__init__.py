"""Audit of the log: transparency log, verification, export, import."""

from audit import problem_texts as problem_texts
