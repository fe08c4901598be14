#!/usr/bin/env python3
"""Opens datasets with pyarrow, Polars and DuckDB: all three must count the same flows, packets and tokens.

usage: check-datasets.py DATASET...                   a file or a folder of .arrow or .parquet shards each
       check-datasets.py --variants FOLDER DATASET    writes the dataset again, as other tools would, below FOLDER
       check-datasets.py --wrong-cells FOLDER DATASET  writes it with four cells of other types' values, in both formats
       check-datasets.py --views FOLDER DATASET       writes it with texts and lists as views
       check-datasets.py --selections FOLDER DATASET  writes it as programs do that keep columns alone, without metadata
       check-datasets.py --structs FOLDER DATASET     writes the tokens in a struct
       check-datasets.py --ray FOLDER DATASET         writes tokens and source of Parquet by Ray Data, out of NumPy arrays
       check-datasets.py --document FILE PARQUET ARROW
                        runs the queries in a document: SQL on the one folder, Python on each. What they write
                        goes into the working folder. Code whose packages are not installed is named

Needs pyarrow, polars and duckdb (PyPI); where one is missing the check fails. Prints a line per dataset.
"""
import argparse
import inspect
import re
import sys
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet


def shards(path):
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in (".arrow", ".parquet"))
    if not files:
        sys.exit(f"{path}: no .arrow or .parquet file")
    return files, "parquet" if files[0].suffix == ".parquet" else "ipc"


def by_pyarrow(files, kind):
    table = pyarrow.dataset.dataset([str(f) for f in files], format=kind).to_table()
    table.validate(full=True)
    packets = sum(pyarrow.compute.sum(table[c]).as_py() or 0 for c in ("client_packets", "server_packets"))
    return table.num_rows, packets, pyarrow.compute.sum(pyarrow.compute.list_value_length(table["tokens"])).as_py() or 0


def by_polars(files, kind):
    read = polars.read_parquet if kind == "parquet" else polars.read_ipc
    table = polars.concat([read(f) for f in files])
    packets = table["client_packets"].sum() + table["server_packets"].sum()
    return table.height, packets, table["tokens"].list.len().sum()


def by_duckdb(files, kind):
    # DuckDB reads Parquet by itself, and Arrow through pyarrow's record batches.
    names = [str(f) for f in files]
    data = pyarrow.dataset.dataset(names, format="ipc") if kind == "ipc" else duckdb.read_parquet(names)
    query = """select count(*), coalesce(sum(client_packets) + sum(server_packets), 0), coalesce(sum(len(tokens)), 0)
               from data"""
    return tuple(int(n) for n in duckdb.sql(query).fetchall()[0])


def check(path):
    files, kind = shards(path)
    counts = {f.__name__[3:]: tuple(f(files, kind)) for f in (by_pyarrow, by_polars, by_duckdb)}
    flows, packets, tokens = counts["pyarrow"]
    if len(set(counts.values())) > 1:
        sys.exit(f"{path}: the counts (flows, packets, tokens) differ: {counts}")
    print(f"{path}: {len(files)} {kind} files, {flows} flows, {packets} packets, {tokens} tokens, the same to all three")


def variants(folder, path):
    """The dataset as others write it: other widths, other list types, text by dictionary, several chunks."""
    files, kind = shards(path)
    table = pyarrow.dataset.dataset([str(f) for f in files], format=kind).to_table()
    folder.mkdir(parents=True, exist_ok=True)

    def with_types(tokens, text):
        fields = []
        for field in table.schema:
            if field.name == "tokens":
                field = field.with_type(tokens)
            elif pyarrow.types.is_string(field.type):
                field = field.with_type(text)
            fields.append(field)
        return table.cast(pyarrow.schema(fields, metadata=table.schema.metadata)).unify_dictionaries()

    pa = pyarrow
    tables = {
        "as-is": table,
        "large": with_types(pa.large_list(pa.int64()), pa.large_string()),
        "int32": with_types(pa.list_(pa.int32()), pa.string()),
        "dictionary": with_types(pa.list_(pa.uint16()), pa.dictionary(pa.int32(), pa.string())),
        "more-columns": table.append_column("more", pa.array([{"a": [1.5]}] * table.num_rows)).append_column(
            "void", pa.nulls(table.num_rows)),
    }
    for name, t in tables.items():
        for compression in (None, "lz4", "zstd"):
            options = pa.ipc.IpcWriteOptions(compression=compression)
            with pa.ipc.new_file(str(folder / f"{name}-{compression}.arrow"), t.schema, options=options) as w:
                w.write_table(t, max_chunksize=777)
            with pa.ipc.new_stream(str(folder / f"{name}-{compression}.arrows"), t.schema, options=options) as w:
                w.write_table(t, max_chunksize=777)
        if name != "more-columns":
            for compression in ("snappy", "zstd", "gzip", "none"):
                pyarrow.parquet.write_table(t, folder / f"{name}-{compression}.parquet", compression=compression, row_group_size=1500)
            pyarrow.parquet.write_table(t, folder / f"{name}-v2.parquet", data_page_version="2.0", use_dictionary=False)
    said = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    pairs = ", ".join(f"{k}: '{v}'" for k, v in said.items() if "." not in k)
    # As integers, since DuckDB's times with a zone are of microseconds in some versions.
    starts = table.set_column(1, "start", table["start"].cast(pa.int64()))
    duckdb.sql(f"copy (select * from starts) to '{folder / 'duckdb.parquet'}' (format parquet, kv_metadata {{{pairs}}})")
    if "metadata" in inspect.signature(polars.DataFrame.write_parquet).parameters:
        polars.from_arrow(table).write_parquet(folder / "polars.parquet", metadata=said)
    else:
        print(f"not tried: Polars {polars.__version__} writes Parquet without metadata, which a dataset needs")
    tokens = table["tokens"].cast(pa.list_(pa.int32()))
    pyarrow.feather.write_feather(pa.table({"flows": tokens}), str(folder / "original.feather"), compression="uncompressed")


def wrong_cells(folder, path):
    """Cells that a dataset's types cannot hold: a port and a token too large, a text that is no address, a null token."""
    files, kind = shards(path)
    table = pyarrow.dataset.dataset([str(f) for f in files], format=kind).to_table()
    folder.mkdir(parents=True, exist_ok=True)

    def put(table, name, kind, row, value):
        column = table[name].to_pylist()
        column[row] = value
        return table.set_column(table.schema.get_field_index(name), name, pyarrow.array(column, kind))

    table = put(table, "client_port", pyarrow.int64(), 10, 70_000)
    table = put(table, "client_addr", pyarrow.string(), 2000, "nowhere")
    table = put(table, "tokens", pyarrow.list_(pyarrow.int32()), 3000, [1, 65_536])
    table = put(table, "tokens", pyarrow.list_(pyarrow.int32()), 4999, [1, None])
    with pyarrow.ipc.new_file(str(folder / "wrong.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=777)
    pyarrow.parquet.write_table(table, folder / "wrong.parquet")


def views(folder, path):
    """Types that came to Arrow after its version 1.0."""
    files, kind = shards(path)
    table = pyarrow.dataset.dataset([str(f) for f in files], format=kind).to_table()
    folder.mkdir(parents=True, exist_ok=True)
    texts = pyarrow.array(table["source"].to_pylist(), pyarrow.string_view())
    lists = pyarrow.array(table["tokens"].to_pylist(), pyarrow.list_view(pyarrow.uint16()))
    for name, column, values in (("text", "source", texts), ("lists", "tokens", lists)):
        changed = table.set_column(table.schema.get_field_index(column), column, values)
        with pyarrow.ipc.new_file(str(folder / f"{name}.arrow"), changed.schema) as writer:
            writer.write_table(changed)


def selections(folder, path):
    """The columns of a dataset without its metadata, in the types that each program has for them."""
    files, kind = shards(path)
    pa = pyarrow
    table = pyarrow.dataset.dataset([str(f) for f in files], format=kind).to_table().replace_schema_metadata()
    folder.mkdir(parents=True, exist_ok=True)

    def cast(**types):
        fields = [f.with_type(types[f.name]) if f.name in types else f for f in table.schema]
        return table.cast(pa.schema(fields))

    unsigned = [f.name for f in table.schema if pa.types.is_unsigned_integer(f.type)]
    as_type = lambda to, names=unsigned: {name: to for name in names}
    large = [f.name for f in table.schema if f.type == pa.uint64()]
    # From octets (0.5 is 0x3800): pyarrow 19 makes float16 of numpy's scalars alone.
    values = pa.Array.from_buffers(pa.float16(), table.num_rows, [None, pa.py_buffer(b"\x00\x38" * table.num_rows)])
    halves = pa.ListArray.from_arrays(pa.array(range(table.num_rows + 1), pa.int32()), values)
    tables = {
        "plain": table,
        "int64": cast(tokens=pa.list_(pa.int64()), **as_type(pa.int64())),
        "doubles": cast(tokens=pa.list_(pa.float64()), **as_type(pa.float64())),
        "decimals": cast(tokens=pa.list_(pa.int32()), start=pa.int64(), **as_type(pa.decimal128(20, 0), large)),
        "halves": table.append_column("embedding", halves),
    }
    for name, t in tables.items():
        with pa.ipc.new_file(str(folder / f"{name}.arrow"), t.schema) as writer:
            writer.write_table(t)
        pyarrow.parquet.write_table(t, folder / f"{name}.parquet")
    pyarrow.parquet.write_table(table, folder / "int96.parquet", use_deprecated_int96_timestamps=True)
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
    numbers = ["tokens.list.element", *(f.name for f in table.schema if f.name not in [*texts, "tokens"])]
    for name, of_numbers, of_texts in (
        ("deltas", "DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY"),
        ("streams", "BYTE_STREAM_SPLIT", "DELTA_LENGTH_BYTE_ARRAY"),
    ):
        encodings = {**dict.fromkeys(numbers, of_numbers), **dict.fromkeys(texts, of_texts)}
        for version in ("1.0", "2.0"):
            to = folder / f"{name}-{version}.parquet"
            pyarrow.parquet.write_table(table, to, use_dictionary=False, column_encoding=encodings, data_page_version=version)
    frame = polars.from_arrow(table)
    frame.write_ipc(folder / "polars.arrow")
    frame.write_ipc(folder / "polars-oldest.arrow", compat_level=polars.CompatLevel.oldest())
    frame.write_parquet(folder / "polars.parquet")
    starts = table.set_column(1, "start", table["start"].cast(pa.int64()))
    assert starts.num_rows == table.num_rows
    duckdb.sql(f"copy (select * from starts) to '{folder / 'duckdb.parquet'}' (format parquet)")


def structs(folder, path):
    """Tokens and their number in a struct: as a ragged tensor, which is read, and under other names, which is refused."""
    files, kind = shards(path)
    table = pyarrow.dataset.dataset([str(f) for f in files], format=kind).to_table()
    folder.mkdir(parents=True, exist_ok=True)
    tokens = table["tokens"].combine_chunks()
    shape = pyarrow.array([[n.as_py()] for n in pyarrow.compute.list_value_length(tokens)], pyarrow.list_(pyarrow.int64()))
    for name, names in (("tensors", ["data", "shape"]), ("others", ["ids", "count"])):
        column = pyarrow.StructArray.from_arrays([tokens, shape], names)
        pyarrow.parquet.write_table(table.set_column(0, "tokens", column), folder / f"{name}.parquet")


def by_ray(folder, path):
    """The dataset as Ray Data writes what was in NumPy arrays: ragged tensors, a struct of values and shape. The same columns
    by pyarrow stand beside the dataset."""
    import ray.data

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    columns = ["tokens", "source"]
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path, columns=columns), path.with_suffix(".parquet"))
    rows = ray.data.read_parquet(str(path), columns=columns)
    rows.map_batches(lambda batch: batch, batch_format="numpy").write_parquet(str(folder))
    ray.shutdown()
    kinds = {pyarrow.parquet.read_schema(file).field("tokens").type for file in folder.glob("*.parquet")}
    [kind] = [getattr(kind, "storage_type", kind) for kind in kinds]
    if not pyarrow.types.is_struct(kind):
        sys.exit(f"{folder}: expected tokens as a struct, found {kind}")
    print(f"{folder}: tokens are {kind}")


def document(path, parquet, arrow):
    """Runs the document's queries where they say `set`: each must run and answer something."""
    text = path.read_text()
    for sql in re.findall(r"```sql\n(.*?)```", text, re.S):
        rows = duckdb.sql(sql.replace("'set/", f"'{parquet}/")).fetchall()
        if not rows:
            sys.exit(f"{path}: no answer to: {sql}")
        print(f"{path}: SQL: {len(rows)} rows, first {rows[0]}")
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        try:
            exec(block.replace('"set/', f'"{parquet}/').replace('"set"', f'"{arrow}"'), {})
        except ModuleNotFoundError as error:
            print(f"{path}: not run: {error.name} is not installed")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dataset", nargs="+", type=Path)
    ap.add_argument("--variants", type=Path, metavar="FOLDER")
    ap.add_argument("--wrong-cells", type=Path, metavar="FOLDER")
    ap.add_argument("--views", type=Path, metavar="FOLDER")
    ap.add_argument("--selections", type=Path, metavar="FOLDER")
    ap.add_argument("--structs", type=Path, metavar="FOLDER")
    ap.add_argument("--ray", type=Path, metavar="FOLDER")
    ap.add_argument("--document", type=Path, metavar="FILE")
    a = ap.parse_args()
    if a.document:
        return document(a.document, *a.dataset)
    for path in a.dataset:
        if a.variants:
            variants(a.variants, path)
        elif a.wrong_cells:
            wrong_cells(a.wrong_cells, path)
        elif a.views:
            views(a.views, path)
        elif a.structs:
            structs(a.structs, path)
        elif a.ray:
            by_ray(a.ray, path)
        elif a.selections:
            selections(a.selections, path)
        else:
            check(path)


main()
