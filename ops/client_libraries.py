"""Generate the typed clients and the Postman collection from the API's document: ``make clients``.

Well-kept generators write them; ``clients/`` has the generators' settings and the few helpers that they leave out.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ops import files
from ops.errors import UserError
from ops.output import say
from ops.settings import ROOT, build_directory
from ops.virtual_environments import prepared

DOCUMENT = ROOT / "lambda/pmp/openapi.json"
SETTINGS = ROOT / "clients"
_NODE = SETTINGS / "node_modules" / ".bin"
_CREATING = {"createUser": "user", "createEvent": "event", "createImport": "import", "createExport": "export"}
"""Operations whose answer has the id that later requests of the collection need, and what the id is of."""


def generate() -> Path:
    """Write all clients to ``build/clients`` and return that folder.

    Raises:
        UserError: a generator failed; the message is its output.
    """
    folder = build_directory() / "clients"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _python(folder / "python")
    _typescript(folder / "typescript")
    _postman(folder / "pmp.postman_collection.json")
    return folder


def with_one_kind(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with each request's first kind of body only.

    openapi-python-client 0.29 writes code that does not compile for two kinds with one schema, and a client needs one.
    """
    for methods in document["paths"].values():
        for operation in methods.values():
            if "content" in (body := operation.get("requestBody", {})):
                body["content"] = dict([next(iter(body["content"].items()))])
    return document


def _python(folder: Path) -> None:
    document = folder.with_suffix(".json")
    document.write_text(json.dumps(with_one_kind(json.loads(DOCUMENT.read_text()))))
    programs = prepared(build_directory() / "client-generator", SETTINGS / "requirements.lock")
    _run(
        [
            str(programs / "openapi-python-client"), "generate", "--path", str(document), "--meta", "uv",
            "--config", str(SETTINGS / "python.yaml"), "--output-path", str(folder), "--fail-on-warning",
        ],
        path=programs,
    )  # fmt: skip
    document.unlink()
    shutil.copyfile(SETTINGS / "python_helpers.py", folder / "pmp_client" / "helpers.py")
    project = folder / "pyproject.toml"
    first = "dependencies = [\n"
    text = project.read_text()
    if first not in text:
        raise UserError(f"{project} has no dependencies: the generator writes another form now; change {__name__}")
    project.write_text(text.replace(first, f'{first}    "httpx-retries>=0.4",\n', 1))
    say(f"clients: Python in {folder.relative_to(ROOT)}")


def _typescript(folder: Path) -> None:
    (folder / "src").mkdir(parents=True)
    _run([str(_NODE / "openapi-typescript"), str(DOCUMENT), "--output", str(folder / "src/schema.d.ts")])
    shutil.copyfile(SETTINGS / "typescript/index.ts", folder / "src/index.ts")
    for name in ("package.json", "tsconfig.json"):
        shutil.copyfile(SETTINGS / "typescript" / name, folder / name)
    (folder / "node_modules").symlink_to(SETTINGS / "node_modules")
    _run([str(_NODE / "tsc"), "--project", str(folder)])
    # A declaration file is not copied by the compiler, but the declarations that it wrote refer to it.
    shutil.copyfile(folder / "src/schema.d.ts", folder / "dist/schema.d.ts")
    say(f"clients: TypeScript in {folder.relative_to(ROOT)}")


def _postman(file: Path) -> None:
    options = "folderStrategy=Tags,parametersResolution=Example,enableOptionalParameters=false"
    converter = _NODE / "openapi2postmanv2"
    _run([str(converter), "--spec", str(DOCUMENT), "--output", str(file), "--options", options])
    files.replace(file, json.dumps(collection(json.loads(file.read_text())), indent=2) + "\n")
    say(f"clients: Postman collection {file.relative_to(ROOT)}")


def collection(generated: dict[str, Any]) -> dict[str, Any]:
    """Return a Postman collection that works after its import, and is the same for the same document.

    Two variables are for the user: ``baseUrl`` and ``token``. A request that creates something keeps its id for the
    requests after it. What the converter fills with random values is empty, and off.

    Args:
        generated: the converter's collection (https://schema.postman.com/collection/json/v2.1.0).
    """
    document = json.loads(DOCUMENT.read_text())
    operations = {
        (method.upper(), path.replace("{", ":").replace("}", "")): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    text = json.dumps([_item(item, operations) for item in generated["item"]])
    for operation in operations.values():
        if name := _CREATING.get(operation["operationId"]):
            example = operation["responses"]["201"]["content"]["application/json"]["example"]["id"]
            text = text.replace(example, f"{{{{{name}_id}}}}")
    names = ("baseUrl", "token", *(f"{name}_id" for name in _CREATING.values()))
    return {
        "info": {**generated["info"], "_postman_id": "pmp"},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [{"key": name, "value": ""} for name in names],
        "item": json.loads(text),
    }


def _item(item: dict[str, Any], operations: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """A folder or request of the collection, without examples of answers and without random values."""
    if "item" in item:
        return {"name": item["name"], "item": [_item(inner, operations) for inner in item["item"]]}
    request = item["request"]
    url = request["url"]
    operation = operations[request["method"], "/" + "/".join(url["path"])]
    kept: dict[str, Any] = {
        "method": request["method"],
        "header": [_emptied(header) for header in request["header"]],
        "url": {**url, "query": [_emptied(parameter) for parameter in url.get("query", [])]},
    }
    for part in ("description", "body"):
        if part in request:
            kept[part] = request[part]
    if not operation.get("security"):
        kept["auth"] = {"type": "noauth"}
    wanted: dict[str, Any] = {"name": item["name"], "request": kept}
    if made := _CREATING.get(operation["operationId"]):
        body = json.loads(request["body"]["raw"])
        body.pop("id", None)
        if "email" in body:
            body["email"] = "ada.{{$timestamp}}@example.com"
        kept["body"] = {**request["body"], "raw": json.dumps(body, indent=2)}
        script = f'pm.collectionVariables.set("{made}_id", pm.response.json().id);'
        wanted["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": [script]}}]
    return wanted


def _emptied(parameter: dict[str, Any]) -> dict[str, Any]:
    return {**parameter, "value": ""} if parameter.get("disabled") else parameter


def _run(command: list[str], path: Path | None = None) -> None:
    environment = os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{Path(command[0]).name} failed:\n{done.stdout.strip()}")
