"""Runtime: the setup of a process of Tenantry."""

from runtime import problem_texts as problem_texts
