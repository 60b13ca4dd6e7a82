"""A real S3 server for the tests of mirrors."""

from tests.support.s3 import port, s3, server

__all__ = ["port", "s3", "server"]
