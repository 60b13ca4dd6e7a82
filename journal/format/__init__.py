"""The bytes of a journal: schema, header, messages, tail slots, footer. Pure functions on bytes."""
