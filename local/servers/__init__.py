"""The servers beside the emulated account: PostgreSQL, PgBouncer, the registry and the vendor list."""
