"""Copy the journals of a run to an object store while it runs, and read them there.

To write, use `service.MirrorService` (the command `journal mirror`). To read:

    mirror = open_mirror("s3://bucket/prefix")      # or gs://, az://, file://, a folder; raises MirrorError
    mirror.runs() -> list[str]
    mirror.now() -> datetime | None                 # by the store's clock; None if it cannot be read
    run = mirror.run(run_id)                        # reads the indexes, no journal
    run.chains -> list[Chain]                       # host, mirror_id, root_id, node_id, moved (store's clock), problems
    run.journals -> dict[str, MirroredJournal]      # host, root_id, node_id, stream_bytes, closed, sealed_step
    run.fetch(ids, folder) -> dict[str, list[str]]  # copies into folder/run_id/, as local files; problems by journal id
    run.read(journal_id)                            # a context manager that returns a `Journal`

`fetch` writes files that `read_journal` and `peek` can read. If bytes between others are missing, it writes FF in their
place, so that a reader reports damage and not a torn end.
"""

from journal.mirror.reading import Chain, Mirror, MirroredJournal, MirroredRun, open_mirror
from journal.mirror.store import MirrorError

__all__ = ["Chain", "Mirror", "MirrorError", "MirroredJournal", "MirroredRun", "open_mirror"]
