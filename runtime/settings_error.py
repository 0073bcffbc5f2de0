"""Error of wrong settings, apart from the settings: the root command knows it and imports no settings for it."""

from __future__ import annotations


class SettingsError(Exception):
    """One or more settings are wrong; `problems` holds one clear line for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
