"""Copy the journals of a run to an object store while it runs, and read them there.

Writing: `service.serve` (the command `journal mirror`). Reading, for other packages:

    mirror = open_mirror("s3://bucket/prefix")      # or gs://, az://, file://, a folder; raises MirrorError
    mirror.runs() -> list[str]
    mirror.now() -> datetime | None                 # the store's own clock, by a probe object; None if it refuses one
    run = mirror.run(run_id)                        # reads the indexes, no journal
    run.chains -> list[Chain]                       # host, mirror_id, root_id, node_id, moved (store's clock), problems
    run.journals -> dict[str, MirroredJournal]      # host, root_id, node_id, stream_bytes, closed, sealed_step
    run.fetch(ids, folder) -> dict[str, list[str]]  # copies into folder/run_id/, as local files; problems by journal id
    run.read(journal_id)                            # `with run.read(journal_id) as journal:` gives a `Journal`

`fetch` writes the files that `read_journal`, `peek` and `parse_journal_path` expect. Bytes that the mirror lacks between
bytes that it has are written as FF, so that a reader reports them as damage, and never as a torn end.
"""

from journal.mirror.reading import Chain, Mirror, MirroredJournal, MirroredRun, open_mirror
from journal.mirror.store import MirrorError

__all__ = ["Chain", "Mirror", "MirrorError", "MirroredJournal", "MirroredRun", "open_mirror"]
