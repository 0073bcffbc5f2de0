"""Workers: the processes that keep the actual state in agreement with the desired state."""

from workers import problem_texts as problem_texts
