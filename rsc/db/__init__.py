"""The database: tables, engines, migrations, and a named function for every query and state change."""
