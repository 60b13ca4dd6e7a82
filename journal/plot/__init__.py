"""Draw journals in the terminal, as pictures and as HTML pages."""
