"""Run by its path in every Python that bench starts: there `bench` is the package in which this file lies.

By its name alone another copy could be imported: the installed one, where this one is a source tree in the working
folder, which comes last on the path (see `safe_path`).
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def import_package() -> None:
    """Put the package among the imported modules; it imports nothing itself."""
    folder = Path(__file__).parent
    spec = spec_from_file_location("bench", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["bench"] = package = module_from_spec(spec)
    spec.loader.exec_module(package)


def run_module() -> None:
    """Run the module of `bench` that the first argument names, as `python -m` would; the others are for that."""
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


# `multiprocessing` runs what it takes for the main module under another name.
if __name__ in ("__main__", "__mp_main__"):
    import_package()
if __name__ == "__main__":
    run_module()
