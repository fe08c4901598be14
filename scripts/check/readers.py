#!/usr/bin/env python3
"""Reads datasets with every engine that is installed, value by value, with filters and with statistics.

usage: readers.py DATASET...      a file or a folder of .arrow, .arrows or .parquet shards each

What pyarrow reads without statistics is what all others have to give. Of each Parquet column of numbers, times or text: least
and greatest value, and the rows under three filters, in pyarrow, Polars, DuckDB, ClickHouse (chdb), DataFusion, fastparquet and hyparquet (node).
Of each Arrow file: the sum of all tokens and of `client_seq_base`, in pyarrow, Polars, nanoarrow and apache-arrow (node).

NODE_PATH names a folder with hyparquet, hyparquet-compressors, apache-arrow and lz4js. What is not installed is named.
"""

import json
import os
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
FILTERS = ("=", ">", "<=")


def there(package):
    try:
        return import_module(package)
    except ImportError:
        return None


polars, duckdb, datafusion, fastparquet = map(there, ("polars", "duckdb", "datafusion", "fastparquet"))
chdb, nanoarrow = map(there, ("chdb", "nanoarrow"))


def has_node(package):
    folder = os.environ.get("NODE_PATH")
    return bool(folder) and (Path(folder) / package).is_dir()


def plain(value):
    """A value as all engines can say it: a number or a text; times are nanoseconds since 1970."""
    if value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, bytes):
        return value.decode()
    return int(value)


def questions(table):
    """Columns, each with a value from the middle: the filters' right side."""
    found = {}
    for field in table.schema:
        column = table[field.name]
        if pa.types.is_timestamp(field.type):
            column = column.cast(pa.int64())
        if pa.types.is_nested(field.type):
            continue
        values = sorted(v for v in column.to_pylist() if v is not None)
        if values:
            middle = values[2 * len(values) // 3]
            rows = {"=": values.count(middle), ">": sum(v > middle for v in values), "<=": sum(v <= middle for v in values)}
            found[field.name] = (middle, {"min": values[0], "max": values[-1], **rows})
    return found


def literal(value):
    return f"'{value}'" if isinstance(value, str) else str(value)


def by_sql(query, is_time):
    """The answers of an engine for a column: `query(select, where)` gives one row."""

    def answers(name, value):
        column = is_time(name)
        least, most = query(f"min({column}), max({column})", "true")
        found = {"min": plain(least), "max": plain(most)}
        for operator in FILTERS:
            found[operator] = int(query("count(*)", f"{column} {operator} {literal(value)}")[0])
        return found

    return answers


def duckdb_answers(path, times):
    # epoch_ns, not a cast: a filter on the column itself prunes by its statistics.
    def query(select, where):
        return duckdb.sql(f"select {select} from read_parquet('{path}') where {where}").fetchall()[0]

    return by_sql(query, lambda name: f"epoch_ns({name})" if name in times else name)


def clickhouse_answers(path, times):
    def query(select, where):
        said = chdb.query(f"select {select} from file('{path}', Parquet) where {where}", "JSONCompact")
        return json.loads(str(said))["data"][0]

    # JSON has integers of 64 bits as texts.
    whole = by_sql(query, lambda name: f"toUnixTimestamp64Nano({name})" if name in times else name)

    def answers(name, value):
        found = whole(name, value)
        return {at: int(n) if isinstance(value, int) else n for at, n in found.items()}

    return answers


def datafusion_answers(path, times):
    context = datafusion.SessionContext()
    context.register_parquet("flows", str(path))

    def query(select, where):
        columns = context.sql(f"select {select} from flows where {where}").to_pydict().values()
        return [column[0] for column in columns]

    # Names of SQL fold to lower case, which ours have; `close` and the like are no key words there.
    return by_sql(query, lambda name: f'cast("{name}" as bigint)' if name in times else f'"{name}"')


def polars_answers(path, times):
    def answers(name, value):
        column = polars.col(name)
        compared = {"=": column == value, ">": column > value, "<=": column <= value}
        if name in times:
            when = polars.lit(value).cast(polars.Datetime("ns", "UTC"))
            compared = {"=": column == when, ">": column > when, "<=": column <= when}
        as_number = column.cast(polars.Int64) if name in times else column
        flows = polars.scan_parquet(path)
        least, most = flows.select(as_number.min().alias("a"), as_number.max().alias("b")).collect().row(0)
        rows = {o: flows.filter(c).select(polars.len()).collect().item() for o, c in compared.items()}
        return {"min": plain(least), "max": plain(most), **rows}

    return answers


def pyarrow_answers(path, times):
    def answers(name, value):
        kind = pq.read_schema(path).field(name).type
        right = pa.scalar(value, pa.int64() if name in times else kind).cast(kind)
        column = pc.field(name)
        compared = {"=": column == right, ">": column > right, "<=": column <= right}
        rows = {o: pq.read_table(path, filters=c, columns=[name]).num_rows for o, c in compared.items()}
        groups = pq.ParquetFile(path).metadata
        place = [groups.row_group(0).column(i).path_in_schema for i in range(groups.num_columns)].index(name)
        said = [groups.row_group(i).column(place).statistics for i in range(groups.num_row_groups)]
        if not all(s is not None and s.has_min_max for s in said):
            raise ValueError(f"{name}: no statistics")
        as_int = lambda s: s.value if hasattr(s, "value") else plain(s)
        return {"min": min(as_int(s.min) for s in said), "max": max(as_int(s.max) for s in said), **rows}

    return answers


def fastparquet_answers(path, times):
    file = fastparquet.ParquetFile(str(path))

    def answers(name, value):
        import pandas

        as_number = lambda v: v.value if name in times else plain(v)
        whole = file.to_pandas(columns=[name])[name].dropna()
        found = {"min": as_number(whole.min()), "max": as_number(whole.max())}
        # Its filters drop row groups by their statistics, in which times have no zone; the rows are chosen here.
        right = pandas.Timestamp(value) if name in times else value
        for operator, word, compare in (("=", "==", "__eq__"), (">", ">", "__gt__"), ("<=", "<=", "__le__")):
            kept = file.to_pandas(columns=[name], filters=[[(name, word, right)]])[name].dropna()
            found[operator] = sum(getattr(as_number(v), compare)(value) for v in kept)
        return found

    return answers


def node(script, *arguments):
    done = subprocess.run(["node", HERE / script, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip()[-500:])
    return json.loads(done.stdout)


def hyparquet_answers(path, times):
    def answers(name, value):
        found = node("readers.mjs", "parquet", path, name, value, str(name in times))
        return {k: int(v) if isinstance(v, str) and v.lstrip("-").isdigit() else v for k, v in found.items()}

    return answers


PARQUET = {
    "pyarrow": (pa, pyarrow_answers),
    "polars": (polars, polars_answers),
    "duckdb": (duckdb, duckdb_answers),
    "chdb": (chdb, clickhouse_answers),
    "datafusion": (datafusion, datafusion_answers),
    "fastparquet": (fastparquet, fastparquet_answers),
    "hyparquet": (has_node("hyparquet"), hyparquet_answers),
}


def check_parquet(path):
    table = pq.ParquetFile(path).read()
    asked = questions(table)
    times = {field.name for field in table.schema if pa.types.is_timestamp(field.type)}
    bad, tried = [], []
    for engine, (package, answers_of) in PARQUET.items():
        if not package:
            continue
        tried.append(engine)
        answers = answers_of(path, times)
        for name, (middle, expected) in asked.items():
            try:
                found = answers(name, middle)
            except Exception as error:  # An engine that fails on a column is what this looks for.
                found = f"{type(error).__name__}: {str(error)[:200]}"
            if found != expected:
                bad.append(f"{path}: {engine}: {name} at {middle}: expected {expected}, found {found}")
    print(f"{path}: {len(asked)} columns, {table.num_rows} flows: {', '.join(tried)}")
    return bad


def sums(table):
    tokens = pc.sum(pc.list_flatten(table["tokens"]).cast(pa.int64())).as_py()
    return {"rows": table.num_rows, "tokens": tokens, "seq": pc.sum(table["client_seq_base"].cast(pa.int64())).as_py() or 0}


def pyarrow_sums(path):
    open_it = pyarrow.ipc.open_stream if path.suffix == ".arrows" else pyarrow.ipc.open_file
    return sums(open_it(pa.memory_map(str(path))).read_all())


def polars_sums(path):
    table = (polars.read_ipc_stream if path.suffix == ".arrows" else polars.read_ipc)(path)
    tokens = table["tokens"].cast(polars.List(polars.Int64)).list.sum().sum()
    return {"rows": table.height, "tokens": tokens, "seq": table["client_seq_base"].cast(polars.Int64).sum()}


def nanoarrow_sums(path):
    from nanoarrow import ArrayStream
    from nanoarrow.ipc import InputStream

    # nanoarrow reads streams: behind a file's first eight octets there is one.
    octets = path.read_bytes()[8 if path.suffix == ".arrow" else 0 :]
    with InputStream.from_readable(octets) as stream:
        return sums(pa.table(ArrayStream(stream).read_all()))


def arrow_js_sums(path):
    return {k: int(v) for k, v in node("readers.mjs", "arrow", path).items()}


ARROW = {
    "pyarrow": (pa, pyarrow_sums),
    "polars": (polars, polars_sums),
    "nanoarrow": (nanoarrow, nanoarrow_sums),
    "apache-arrow (node)": (has_node("apache-arrow"), arrow_js_sums),
}


def check_arrow(path):
    expected, bad, tried = pyarrow_sums(path), [], []
    for engine, (package, sums_of) in ARROW.items():
        if not package:
            continue
        tried.append(engine)
        try:
            found = sums_of(path)
        except Exception as error:  # As above.
            found = f"{type(error).__name__}: {str(error)[:200]}"
        if found != expected:
            bad.append(f"{path}: {engine}: expected {expected}, found {found}")
    print(f"{path}: {expected['rows']} flows: {', '.join(tried)}")
    return bad


def main(datasets):
    every = {**PARQUET, **ARROW}
    absent = [name for name, (package, _) in every.items() if not package]
    named = [f"{n} {metadata.version(n)}" for n in sorted(every) if n not in absent and "(" not in n and n != "hyparquet"]
    print(f"with {', '.join(named)}; not installed: {', '.join(absent) or 'none'}")
    bad = []
    for dataset in map(Path, datasets):
        files = [dataset] if dataset.is_file() else sorted(p for p in dataset.rglob("*") if p.is_file())
        for path in files:
            bad += check_parquet(path) if path.suffix == ".parquet" else check_arrow(path)
    print("\n".join(bad) or "all engines agree")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
