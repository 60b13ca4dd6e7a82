"""Find a run in the database and among the folders of journals, and read its rows."""
