"""Run by Alembic: migrates the database of the connection that `storage.migrate` passes, inside its transaction."""

from alembic import context

from al_service.storage.schema import metadata

# Alembic loads this file under that name; anybody else who imports it (a test collector) runs nothing.
if __name__ == "env_py":
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
