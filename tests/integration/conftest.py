"""Fixtures of the integration tests."""

from tests.integration.installed import installed as installed
