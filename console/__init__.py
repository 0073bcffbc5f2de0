"""The console: the state of the installation, its history and the acts of operators, in a browser."""

from console import problem_texts as problem_texts
