#!/usr/bin/env bash
# fastparquet 2026.9.0 with pandas 3.1.1: no value filters the rows of a column of times with a time zone.
#
# A filter of `ParquetFile.to_pandas` is compared twice. Row groups are chosen by their statistics, which fastparquet holds as
# times without a zone, so that the value must have none. With `row_filter=True` the rows are chosen too, and the column that was
# read has its zone, so that the value must have one. A time with the zone fails in the first comparison, one without in the
# second, in files that fastparquet has written itself. What works: a time without a zone and row_filter=False, and the frame
# filtered afterwards.
#
# Output seen:
#   aware  row_filter=False  TypeError: Cannot compare tz-naive and tz-aware timestamps
#   aware  row_filter=True   TypeError: Cannot compare tz-naive and tz-aware timestamps
#   naive  row_filter=False  1 of 2 rows
#   naive  row_filter=True   TypeError: Invalid comparison between dtype=datetime64[us, UTC] and Timestamp
#
# Needs python3 with venv, and a package registry.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fastparquet==2026.9.0 pandas==3.1.1
cat > filters.py <<'PYTHON'
import fastparquet
import pandas as pd

times = pd.to_datetime(["2026-01-01", "2026-06-01"], utc=True)
fastparquet.write("times.parquet", pd.DataFrame({"time": times}), row_group_offsets=[0, 1])
values = {"aware": pd.Timestamp("2026-03-01", tz="UTC"), "naive": pd.Timestamp("2026-03-01")}
for name, value in values.items():
    for row_filter in (False, True):
        file = fastparquet.ParquetFile("times.parquet")
        try:
            rows = file.to_pandas(filters=[("time", ">", value)], row_filter=row_filter)
            said = f"{len(rows)} of {len(times)} rows"
        except TypeError as error:
            said = f"TypeError: {error}"
        print(f"{name}  row_filter={row_filter!s:5}  {said}")
PYTHON
venv/bin/python filters.py | tee found
diff found - <<'EXPECTED'
aware  row_filter=False  TypeError: Cannot compare tz-naive and tz-aware timestamps
aware  row_filter=True   TypeError: Cannot compare tz-naive and tz-aware timestamps
naive  row_filter=False  1 of 2 rows
naive  row_filter=True   TypeError: Invalid comparison between dtype=datetime64[us, UTC] and Timestamp
EXPECTED
