"""Write a journal: writer, tail, lease, run marker."""
