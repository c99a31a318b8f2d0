"""Folders written by addax, and what is in them."""

from addax.common.files import atomic_directory


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def fill(path, kind="build", text="new"):
    with atomic_directory(path, kind) as folder:
        (folder / "data.txt").write_text(text)


def tree(folder):
    """Everything below ``folder``, the marker aside: contents of files, where links lead, None for a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else None if path.is_dir() else path.read_text()
        found[path.relative_to(folder).as_posix()] = content
    found.pop("addax.json", None)
    return found
