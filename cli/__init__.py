"""Command line of Tenantry: `tenantry COMMAND`."""

from cli import problem_texts as problem_texts
