"""Cost per month and per million tokens, from dated price books."""
