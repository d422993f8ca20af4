"""Holds what an image says of itself to what is in it: inside.py ROOT PROGRAM...

ROOT has /usr/share/doc/agenthost of the image, and the programs in Go that are named. Prints what it counted.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

# Linked in from here, and not from elsewhere.
OURS = "github.com/agenthost/agenthost"


def main(root: pathlib.Path, programs: list[str]) -> None:
    docs = root / "usr/share/doc/agenthost"
    assert "Apache License" in (docs / "LICENSE").read_text(), "there is no licence of our own"
    bills = {file.name.removesuffix(".cdx.json"): json.loads(file.read_text()) for file in docs.glob("*.cdx.json")}
    assert bills, f"there is no bill in {docs}"
    components: set[str] = set()
    texts: set[str] = set()
    for name, bill in bills.items():
        assert bill["bomFormat"] == "CycloneDX", f"{name} is no bill of CycloneDX's"
        assert bill["components"], f"{name} names nothing"
        for component in bill["components"]:
            components.add(component["purl"])
            assert component["licenses"], f"{name}: {component['purl']} has no licence"
            files = [p["value"] for p in component["properties"] if p["name"] == "agenthost:licenseText"]
            assert files, f"{name}: {component['purl']} has no text"
            for file in files:
                assert (docs / file).stat().st_size > 0, f"{file} is empty"
                texts.add(file)
    stray = {f"licenses/{file.name}" for file in (docs / "licenses").iterdir()} - texts
    assert not stray, f"nothing has these texts: {stray}"
    if "full" in bills:
        whole = {component["purl"] for component in bills["full"]["components"]}
        assert whole == components, f"the bill of all lacks {components - whole}"
    for program in programs:
        listed = subprocess.run(["go", "version", "-m", root / program], check=True, capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            word, *rest = line.split()
            if word == "dep" and not rest[0].startswith(OURS) and "=>" not in rest:
                purl = f"pkg:golang/{rest[0]}@{rest[1]}"
                assert purl in components, f"{program} has {purl} in it, and no bill says so"
    print(f"{len(components)} components, {len(texts)} texts")


try:
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
except AssertionError as e:
    sys.exit(str(e))
