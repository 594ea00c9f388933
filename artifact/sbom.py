"""The software bill of materials, as CycloneDX 1.5 JSON: what is in the artifact, its licences and hashes."""

import json
import uuid
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from artifact.source import BuildError
from artifact.wheelhouse import Wheel, target

ACCEPTED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "EPL-2.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
    }
)
"""Licences under which we ship somebody's work; another one is a decision for people."""
CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
"""What projects say that have no expression yet."""
WORDS = {"Apache 2": "Apache-2.0", "Apache License 2.0": "Apache-2.0", "BSD": "BSD-3-Clause", "MIT License": "MIT"}
NAMESPACE = uuid.UUID("6f1c1ac1-7c64-5ab5-9a6b-1c6f0f1d3c0e")


def bill(wheels: Mapping[str, list[Wheel]], *, own: Wheel, epoch: int) -> str:
    """The document, of the wheels for each Python. Raises ``BuildError`` for a licence that nobody has agreed to."""
    files: dict[str, list[Wheel]] = {}
    for wheel in sorted({one for every in wheels.values() for one in every}, key=lambda one: (one.name, one.path.name)):
        files.setdefault(_purl(wheel), []).append(wheel)
    told = {ref: _metadata(each[0]) for ref, each in files.items()}
    parts = {ref: _component(each, told[ref]) for ref, each in files.items()}
    identity = "\n".join(f"{wheel.path.name} {wheel.sha256}" for each in files.values() for wheel in each)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, identity)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
            "component": {**parts[_purl(own)], "type": "application"},
            "properties": [
                *({"name": "vesemir:python", "value": f"CPython {python}"} for python in wheels),
                {"name": "vesemir:platform", "value": "manylinux x86_64"},
            ],
        },
        "components": [part for ref, part in parts.items() if ref != _purl(own)],
        "dependencies": [{"ref": ref, "dependsOn": _needs(told[ref], wheels)} for ref in files],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _metadata(wheel: Wheel) -> Message:
    with zipfile.ZipFile(wheel.path) as content:
        (name,) = (each for each in content.namelist() if each.count("/") == 1 and each.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(content.read(name).decode("utf-8"))


def _component(wheels: list[Wheel], told: Message) -> dict[str, Any]:
    """One version of a library: a file for every Python, or one for each."""
    licence, first = licence_of(told), wheels[0]
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(first),
        "name": first.name,
        "version": first.version,
        "description": str(told.get("Summary", "")),
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256} for wheel in wheels],
        "licenses": [{"license": {"id": licence}}] if " " not in licence else [{"expression": licence}],
        "purl": _purl(first),
        "properties": [{"name": "vesemir:file", "value": wheel.path.name} for wheel in wheels],
    }
    return component


def licence_of(told: Message) -> str:
    """As an SPDX expression, from whichever way a project says it. Raises ``BuildError``."""
    name = told.get("Name", "?")
    said = str(told.get("License-Expression") or told.get("License") or "").strip()
    classifiers = [CLASSIFIERS[each] for each in told.get_all("Classifier", []) if each in CLASSIFIERS]
    try:
        licence = str(canonicalize_license_expression(WORDS.get(said, said)))
    except InvalidLicenseExpression:
        if not classifiers:
            raise BuildError(f"{name} does not say its licence in words that we know ({said or 'none'})") from None
        licence = " AND ".join(dict.fromkeys(classifiers))
    alternatives = [set(each.strip(" ()").split(" AND ")) for each in licence.split(" OR ")]
    if not any(each <= ACCEPTED for each in alternatives):
        raise BuildError(f"{name} is under {licence}, which artifact/sbom.py does not accept: decide on it there")
    return licence


def _needs(told: Message, wheels: Mapping[str, list[Wheel]]) -> list[str]:
    """By any of the Pythons."""
    needed = set()
    for python, every in wheels.items():
        here = {wheel.name: wheel for wheel in every}
        for text in told.get_all("Requires-Dist", []):
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name in here and (requirement.marker is None or requirement.marker.evaluate(target(python))):
                needed.add(_purl(here[name]))
    return sorted(needed)


def _purl(wheel: Wheel) -> str:
    return f"pkg:pypi/{wheel.name}@{wheel.version}"
