"""The database: tables, engines, migrations, and every query and transition by name."""
