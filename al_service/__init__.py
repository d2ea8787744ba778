"""Active-learning loop service for image classification.

The map (docs/architecture.md says who may import whom, and tests/architecture enforces it):

    errors, settings, images      leaves
    domain/                       records, states and their legal moves: plain Python
    loop/                         rounds, the people's queue, triggers, accounts; reaches storage through its ports
    storage/                      schema, migrations, SQL store, artifact files
    job_queue/                    RQ and the inline queue, the embedded broker
    api/                          JSON routes under /api/v1
    ingest/                       folders, archives and tables turned into rows
    learning/ acquisition/        the mathematics (torch lives here)
    rehearsal/                    simulated people who label over HTTP
    bootstrap                     reads settings once and chooses every implementation
    cli/, scheduler, supervisor, web_server: processes
"""

__version__ = "0.1.0"
