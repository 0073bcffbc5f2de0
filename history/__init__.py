"""History of a tenant: its states, events and their causes, and the rebuild of read models."""

from history import problem_texts as problem_texts
