"""Imports of large files from S3, without lost or doubled lines, at the speed of the database.

S3 notifies the function of an upload (``handle_notification``). The function streams the object in the pinned version,
validates each line and merges batches, each in one transaction with the job's new position (``run``). Whatever stops an
invocation, the next one resumes from that position; lines that were already committed are recognised and skipped.
"""

from pmp.imports.folders import ChoiceError
from pmp.imports.folders import create as create_of_objects
from pmp.imports.jobs import FILTERS, announced, cancel, create, get, list_jobs, rejects_url
from pmp.imports.mappings import named as mapping_named
from pmp.imports.trials import remove_left as remove_trials
from pmp.imports.trials import remove_previews
from pmp.imports.trials import shown as preview
from pmp.imports.worker import handle_notification, remove_rejects, remove_uploads, restart, run

__all__ = [
    "FILTERS",
    "ChoiceError",
    "announced",
    "cancel",
    "create",
    "create_of_objects",
    "get",
    "handle_notification",
    "list_jobs",
    "mapping_named",
    "preview",
    "rejects_url",
    "remove_previews",
    "remove_rejects",
    "remove_trials",
    "remove_uploads",
    "restart",
    "run",
]
