"""Print parliament's findings on standard input's policies: ``{name: document}`` in, ``[[name, issue, detail]]`` out.

It runs in the judges' own virtual environment.
"""

import json
import sys
import warnings

with warnings.catch_warnings():
    # parliament imports pkg_resources, which announces its own end.
    warnings.simplefilter("ignore")
    from parliament import analyze_policy_string


def main() -> None:
    """Judge every policy."""
    found = [
        [name, finding.issue, finding.detail]
        for name, document in json.load(sys.stdin).items()
        for finding in analyze_policy_string(json.dumps(document)).findings
    ]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
