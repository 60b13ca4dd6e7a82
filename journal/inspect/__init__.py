"""Answer questions about journals: find, list, summarise, verify, filter."""
