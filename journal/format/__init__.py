"""Encode and decode the bytes of a journal: header, messages, tail slots, footer. Nothing here opens a file."""
