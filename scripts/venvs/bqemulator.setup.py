"""Puts the DuckDB extension that bqemulator would download where it looks for it when started with HOME=<venv>/home."""

import pathlib
import shutil
import sys

import duckdb
import duckdb_extension_spatial

version = f"v{duckdb.__version__}"
(platform,) = duckdb.sql("pragma platform").fetchone()
source = pathlib.Path(duckdb_extension_spatial.__file__).parent / "extensions" / version / "spatial.duckdb_extension"
target = pathlib.Path(sys.argv[1]) / "home" / ".duckdb" / "extensions" / version / platform
target.mkdir(parents=True)
shutil.copy(source, target)
