"""Which fixtures have all tests at hand?"""

pytest_plugins = ["tests.real_parts"]
