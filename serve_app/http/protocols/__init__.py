"""Inference protocols: the native one, and those of other servers.

Each protocol consists of two pure functions: `decode` turns a request body into texts, and `encode` turns
their scores into a response body. Everything between is common to all protocols.
"""
