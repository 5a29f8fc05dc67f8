"""Fixtures of all tests."""

pytest_plugins = ["tests.support.damaged_home", "tests.support.demo_world"]
