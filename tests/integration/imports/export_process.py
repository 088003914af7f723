"""Exports all users in a separate process; prints the state, the number of users and the peak memory in MiB."""

import sys

from pmp import database, exports, objects, tasks

from checks.bench.imports.function import peak_mib
from tests.integration.imports.conftest import Context

if __name__ == "__main__":
    objects.PART_BYTES = int(sys.argv[1])
    tasks.begin = lambda *_: None
    job = exports.create(database.connect(), {}, "tester")["id"]
    exports.run(database.connect(), job, Context())
    done = exports.get(database.connect(), job)
    assert done is not None
    print(done["state"], done["users"], peak_mib())
