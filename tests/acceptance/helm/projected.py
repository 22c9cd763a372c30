"""A projected volume, laid out as the kubelet does it: the files in a folder of their own, a link
`..data` to it, and a link to each entry by way of that. An update turns the one link."""

import os
import pathlib
import shutil
import tempfile

GROUP = 65532


def lay(folder, sources, contents):
    """`contents(kind, name, key, path)` gives the bytes of one item."""
    folder = pathlib.Path(folder)
    version = pathlib.Path(tempfile.mkdtemp(prefix="..", dir=folder))
    version.chmod(0o755)
    for source in sources:
        for kind, projection in source.items():
            for item in projection["items"]:
                file = version / item["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(contents(kind, projection["name"], item["key"], item["path"]))
                if os.geteuid() == 0:
                    os.chown(file, 0, GROUP)
                file.chmod(0o440)
    turn(folder, version)


def turn(folder, version):
    data = folder / "..data"
    before = data.resolve() if data.exists() else None
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(data)
    for entry in version.iterdir():
        link = folder / entry.name
        if not link.is_symlink():
            link.symlink_to(f"..data/{entry.name}")
    if before:
        shutil.rmtree(before)


def clear(folder, _sources=()):
    for entry in pathlib.Path(folder).iterdir():
        if entry.is_symlink():
            entry.unlink()
        else:
            shutil.rmtree(entry)
