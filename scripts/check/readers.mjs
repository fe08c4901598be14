// Datasets in JavaScript: node readers.mjs parquet FILE COLUMN VALUE IS_TIME, or node readers.mjs arrow FILE.
// Prints JSON for readers.py; NODE_PATH names the folder with the packages.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const packageAt = (name, entry) => import(pathToFileURL(`${process.env.NODE_PATH}/${name}/${entry}`));
const text = (answers) => JSON.stringify(answers, (_, value) => (typeof value === "bigint" ? value.toString() : value));

async function parquet(path, column, value, isTime) {
  const { asyncBufferFromFile, parquetQuery, parquetReadObjects } = await packageAt("hyparquet", "src/node.js");
  const { compressors } = await packageAt("hyparquet-compressors", "src/index.js");
  const file = await asyncBufferFromFile(path);
  // Times as integers: a Date holds no nanoseconds.
  const parsers = { timestampFromNanoseconds: (ns) => ns };
  const read = { file, compressors, parsers, columns: [column] };
  const values = (await parquetReadObjects(read)).map((row) => row[column]).filter((v) => v !== null && v !== undefined);
  const like = values[0];
  const right = typeof like === "bigint" ? BigInt(value) : typeof like === "number" ? Number(value) : value;
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  values.sort(order);
  const answers = { min: values[0], max: values[values.length - 1] };
  for (const [operator, word] of [["=", "$eq"], [">", "$gt"], ["<=", "$lte"]]) {
    answers[operator] = (await parquetQuery({ ...read, filter: { [column]: { [word]: right } } })).length;
  }
  return answers;
}

async function arrow(path) {
  const require = createRequire(`${process.env.NODE_PATH}/package.json`);
  const { tableFromIPC, compressionRegistry, CompressionType } = require("apache-arrow");
  const lz4 = require("lz4js");
  compressionRegistry?.set(CompressionType.LZ4_FRAME, { encode: (o) => lz4.compress(o), decode: (o) => lz4.decompress(o) });
  const { decompress } = require("fzstd");
  compressionRegistry?.set(CompressionType.ZSTD, { decode: (o) => decompress(o) });
  const table = tableFromIPC(readFileSync(path));
  let tokens = 0n;
  let seq = 0n;
  const [lists, bases] = [table.getChild("tokens"), table.getChild("client_seq_base")];
  for (let row = 0; row < table.numRows; row++) {
    for (const token of lists.get(row).toArray()) tokens += BigInt(token);
    seq += BigInt(bases?.get(row) ?? 0);
  }
  return { rows: table.numRows, tokens, seq };
}

const [kind, ...rest] = process.argv.slice(2);
console.log(text(await (kind === "parquet" ? parquet(...rest) : arrow(...rest))));
