"""Says in one line which system tool is missing, before anything is installed. Needs any Python 3 and no package."""

import os
import shutil
import sys
import sysconfig

MINIMUM = (3, 11)


def missing():  # type: ignore[no-untyped-def]  # old Pythons read this file, too
    """The first thing that is missing, or None."""
    if sys.version_info < MINIMUM:
        return "Python 3.11 or newer (this is %d.%d)" % sys.version_info[:2]
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "Python's venv module (Debian package python3-venv)"
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL")]
    folders.append(os.path.join(folders[0] or "", sysconfig.get_config_var("MULTIARCH") or ""))
    names = {sysconfig.get_config_var("LDLIBRARY"), sysconfig.get_config_var("INSTSONAME")} - {None}
    shared = [os.path.join(f, n) for f in folders if f for n in names if ".so" in n or ".dylib" in n]
    if not any(os.path.exists(path) for path in shared):
        return "a shared libpython (Debian package libpython3-dev), which the simulator embeds"
    for tool, what in (("g++", "the C++ compiler g++"), ("make", "make"), ("perl", "perl")):
        if shutil.which(tool) is None:
            return what
    return None


if __name__ == "__main__":
    lack = missing()
    if lack:
        sys.exit("addax needs %s" % lack)
