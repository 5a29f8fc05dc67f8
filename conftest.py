"""Fixtures of all tests."""

pytest_plugins = ["tests.support.demo_world"]
