"""What integration tests share."""

from tests.integration.installed import installed as installed
