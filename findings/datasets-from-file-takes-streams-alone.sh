#!/usr/bin/env bash
# Hugging Face datasets 4.4.1 with pyarrow 22.0.0: two readers of one library disagree about what an Arrow file is.
#
# `load_dataset("arrow", data_files=...)` reads Arrow's file format (with a footer, the usual `.arrow`) and its stream format.
# `Dataset.from_file(...)`, which maps a file into memory, reads the stream format alone. Of a file it takes the magic "ARROW1"
# for the length of a message: 1330795073 is "ARRO" as a little-endian number. So who writes `.arrow` by pyarrow.ipc.new_file,
# Polars' write_ipc or DuckDB gets an error about metadata octets, and neither a name nor a hint of the other format.
#
# Output seen:
#   from_file     file.arrow    ArrowInvalid: Expected to read 1330795073 metadata bytes, but only read 446
#   from_file     stream.arrow  3 rows
#   load_dataset  file.arrow    3 rows
#   load_dataset  stream.arrow  3 rows
#
# Needs python3 with venv, and a package registry.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check datasets==4.4.1 pyarrow==22.0.0
cat > both.py <<'PYTHON'
import datasets
import pyarrow as pa

datasets.disable_progress_bars()
table = pa.table({"a": pa.array([1, 2, 3], pa.uint16())})
found = {}


def read(reader, name, rows):
    try:
        found[reader, name] = f"{rows(name)} rows"
    except pa.ArrowInvalid as error:
        found[reader, name] = f"ArrowInvalid: {error}"
    print(f"{reader:<13} {name:<13} {found[reader, name]}")


for name, create in [("file.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)]:
    with create(name, table.schema) as writer:
        writer.write_table(table)
for name in ["file.arrow", "stream.arrow"]:
    read("from_file", name, lambda name: datasets.Dataset.from_file(name).num_rows)
for name in ["file.arrow", "stream.arrow"]:
    load = lambda name: datasets.load_dataset("arrow", data_files=name, split="train", cache_dir=f"cache-{name}")
    read("load_dataset", name, lambda name: load(name).num_rows)
assert int.from_bytes(b"ARRO", "little") == 1330795073
assert found["from_file", "file.arrow"].startswith("ArrowInvalid: Expected to read 1330795073 metadata bytes"), found
del found["from_file", "file.arrow"]
assert set(found.values()) == {"3 rows"}, found
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python both.py
