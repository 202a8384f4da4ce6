"""How alembic reaches the database: always through a connection that our own code opened."""

from alembic import context
from sqlalchemy import Connection, text

from services.schema import metadata

# Any number: it only has to be the same for all who migrate one PostgreSQL database.
MIGRATION_LOCK = 4_386_504


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    context.configure(
        connection=connection,
        target_metadata=metadata(),
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
