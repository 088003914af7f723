"""Large data from S3: imports that lose no line, double none, and go at the database's own speed.

S3 tells the function of an upload (``handle_notification``); it streams the object in the pinned version, validates
each line and merges batches, each in one transaction with the job's new position (``run``). Whatever stops an
invocation, the next one goes on from that position; what was committed already is recognised and skipped.
"""

from pmp.imports.jobs import cancel, create, get, list_jobs, rejects_url
from pmp.imports.worker import handle_notification, housekeeping, run

__all__ = ["cancel", "create", "get", "handle_notification", "housekeeping", "list_jobs", "rejects_url", "run"]
