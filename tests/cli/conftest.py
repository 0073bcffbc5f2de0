"""Which fixtures do the tests of the commands share?"""

from tests.cli.cloud import cloud

__all__ = ["cloud"]
