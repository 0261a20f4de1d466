"""The list of what is in a binary (CycloneDX 1.5): each crate with version, licence, checksum and what it needs."""

import json
import subprocess
import time
import tomllib
import uuid

import about
from archive import TOP
from archive import sha256


def build(target, binary, when):
    """The document, as bytes."""
    root, packages, needs = about.linked(target)
    lock = tomllib.loads((TOP / "Cargo.lock").read_text())["package"]
    checksums = {(each["name"], each["version"]): each.get("checksum") for each in lock}

    def reference(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package):
        found = {
            "type": "library",
            "bom-ref": reference(package),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(package),
            "licenses": [{"expression": (package["license"] or "NOASSERTION").replace("/", " OR ")}],
            "scope": "required",
        }
        checksum = checksums.get((package["name"], package["version"]))
        return found | ({"hashes": [{"alg": "SHA-256", "content": checksum}]} if checksum else {})

    rustc = subprocess.run(["rustc", "-vV"], cwd=TOP, check=True, capture_output=True, text=True).stdout
    release = next(line.split()[1] for line in rustc.splitlines() if line.startswith("release:"))
    runtime = [
        {"type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": release,
         "licenses": [{"expression": "MIT OR Apache-2.0"}]},
        {"type": "library", "bom-ref": "musl", "name": "musl", "licenses": [{"expression": "MIT"}]},
    ]
    program = component(packages[root]) | {
        "type": "application",
        "hashes": [{"alg": "SHA-256", "content": sha256(binary)}],
        "properties": [{"name": "target", "value": target}],
    }
    crates = sorted((package for each, package in packages.items() if each != root), key=reference)
    depends = [
        {"ref": reference(packages[each]), "dependsOn": sorted(reference(packages[need]) for need in needs[each])}
        for each in sorted(packages, key=lambda each: reference(packages[each]))
    ]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)),
            "component": program,
        },
        "components": [component(package) for package in crates] + runtime,
        "dependencies": depends,
    }
    # The number has to be one of a kind for each binary, and the same each time.
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{target} {sha256(binary)}")
    document["serialNumber"] = f"urn:uuid:{number}"
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
