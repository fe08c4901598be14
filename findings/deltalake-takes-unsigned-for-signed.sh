#!/usr/bin/env bash
# deltalake 1.6.6: an unsigned column becomes a signed one of the same width, so that a table takes small values and then none.
#
# Delta Lake has no unsigned integers. `write_deltalake` does not widen them: uint16 becomes "short", uint32 "integer". A table
# of ports below 32,768 is written and read back, and its schema is fixed from then on; the first batch with a port above fails,
# and the message names the types the other way round ("from Int16 to UInt16"). A column of uint64 fails from 2^63 on. Who casts
# uint16 to int32 before the first write has no such day.
#
# Output seen:
#   first batch   short  [443]
#   second batch  DeltaError: Can't cast value 40000 to type Int16
#   as int32      integer  [443, 40000]
#
# Needs python3 with venv, and a package registry.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==19.0.1
cat > ports.py <<'PYTHON'
import re

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError


def said(table):
    table = DeltaTable(table)
    return f"{table.schema().fields[0].type.type}  {sorted(pa.table(table.to_pyarrow_table())['port'].to_pylist())}"


write_deltalake("ports", pa.table({"port": pa.array([443], pa.uint16())}))
print("first batch  ", said("ports"))
try:
    write_deltalake("ports", pa.table({"port": pa.array([40000], pa.uint16())}), mode="append")
    print("second batch ", said("ports"))
except DeltaError as error:
    print("second batch  DeltaError:", re.search(r"Can't cast value \d+ to type \w+", str(error))[0])
for port in (443, 40000):
    write_deltalake("widened", pa.table({"port": pa.array([port], pa.int32())}), mode="append")
print("as int32     ", said("widened"))
PYTHON
venv/bin/python ports.py | tee found
diff found - <<'EXPECTED'
first batch   short  [443]
second batch  DeltaError: Can't cast value 40000 to type Int16
as int32      integer  [443, 40000]
EXPECTED
