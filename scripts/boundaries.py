"""Checks which crate may depend on what: dependencies point one way, and each foreign API has one home.

The arrows are those of ARCHITECTURE.md: extension -> llm -> compute -> core. cargo-deny holds the same rule over the
whole graph; this check needs nothing but cargo, and names the crate that broke it.
"""

from __future__ import annotations

import json
import subprocess
import sys

EXTENSION, LLM, COMPUTE, CORE = "vectorgpu", "vectorgpu-llm", "vectorgpu-compute", "vectorgpu-core"
FAULT_LAYER = "vectorgpu-fault-layer"

# Which workspace crates a crate may depend on. A crate that is not listed may depend on none of them.
ARROWS = {EXTENSION: {LLM, COMPUTE, CORE}, LLM: {COMPUTE, CORE}, COMPUTE: {CORE}, CORE: set(), FAULT_LAYER: set()}

# Crates that may depend on nothing at all: what is loaded below a driver's interface must bring nothing along.
ALONE = {FAULT_LAYER}

# The only home of a foreign API, by the start of the crate's name.
HOMES = {"pgrx": EXTENSION, "wgpu": COMPUTE, "naga": COMPUTE, "ash": COMPUTE}


def violations(packages: list[dict]) -> list[str]:
    """Lists every dependency that points the wrong way or leaves its API's home."""
    ours = {package["name"] for package in packages}
    found = []
    for package in packages:
        name = package["name"]
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if name in ALONE:
                found.append(f"{name} depends on {other}: it may depend on nothing")
            if other in ours and other not in ARROWS.get(name, set()):
                found.append(f"{name} depends on {other}: the arrows are extension -> llm -> compute -> core")
            for start, home in HOMES.items():
                if (other == start or other.startswith(start + "-")) and name != home:
                    found.append(f"{name} depends on {other}: only {home} may")
    return found


def main() -> int:
    """Reads `cargo metadata` and prints each violation; exits with 1 if there is one."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"]
    metadata = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    packages = [p for p in metadata["packages"] if p["id"] in metadata["workspace_members"]]
    if CORE not in {package["name"] for package in packages}:
        print(f"{CORE} is not a member of the workspace: this check would check nothing", file=sys.stderr)
        return 1
    found = violations(packages)
    for line in found:
        print(line, file=sys.stderr)
    print(f"crate boundaries: {len(packages)} crates, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
