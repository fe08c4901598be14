//! Joins the parts of a run into one dataset.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use atomic_output::{is_temporary, lock_folder, move_folder};
use serde_json::{Map, Value};

use super::record::{
    MANIFEST, Manifest, PLAN, PartOfManifest, PartRecord, PartsError, Plan, RECORD, SUMS,
    ShardRecord, difference, names, put, read, to_text,
};
use super::run::{folder_of, parts_in};
use super::run_part::RunPart;
use crate::shard::SHARD;

/// Number of missing parts that a message names.
const MAX_NAMED: usize = 8;

/// Makes the dataset `output` of its parts: checks that all are there and of one run, writes the
/// manifest and the checksums, and gives the folder its name. `finish` completes the sum of the
/// summaries of the parts, which are its second argument.
///
/// A join that was killed is continued by the next one, and a dataset that is joined already is
/// returned as it is.
///
/// # Errors
/// If a part is missing or of another run, a shard is not as its part wrote it, there is a file
/// that no part wrote, or something is at `output` that is not a dataset to be replaced by `force`.
/// Nothing is changed then.
pub fn join(
    output: &Path,
    force: bool,
    finish: impl FnOnce(&mut Map<String, Value>, &[&Map<String, Value>]),
) -> Result<Manifest, PartsError> {
    let (folder, on_existing) = (folder_of(output)?, SHARD.on_existing(force));
    if !folder.is_dir() {
        return read(&output.join(MANIFEST))?.ok_or_else(|| {
            PartsError::refuse(&folder, "expected the parts of a dataset, found none")
        });
    }
    let _lock = lock_folder(&folder)?;
    atomic_output::check_folder(output, on_existing)?;
    let manifest = match read(&folder.join(MANIFEST))? {
        Some(manifest) => manifest,
        None => put_together(&folder, finish)?,
    };
    clear(&folder, &manifest)?;
    move_folder(&folder, output, on_existing)?;
    Ok(manifest)
}

/// Checks all parts, moves their shards into `folder`, and writes the manifest and the checksums.
fn put_together(
    folder: &Path,
    finish: impl FnOnce(&mut Map<String, Value>, &[&Map<String, Value>]),
) -> Result<Manifest, PartsError> {
    let records = records(folder)?;
    ensure_all_are_ours(folder, &records)?;
    for (part, record) in &records {
        for shard in &record.shards {
            ensure_whole(folder, *part, shard)?;
        }
    }
    let summaries: Vec<_> = records.iter().map(|(_, record)| &record.summary).collect();
    let mut summary = Map::new();
    summaries.iter().for_each(|of_part| add(&mut summary, of_part));
    finish(&mut summary, &summaries);
    let mut sums = String::new();
    for (part, record) in &records {
        for shard in &record.shards {
            let (from, to) = (place(folder, *part, shard), folder.join(&shard.name));
            if from.exists() {
                fs::rename(&from, &to).map_err(PartsError::at(&from))?;
            }
            sums += &format!("{}  {}\n", shard.sha256, shard.name);
        }
    }
    let settings = records.first().map(|(_, record)| record.settings.clone()).unwrap_or_default();
    let parts = records.into_iter().map(|(_, record)| PartOfManifest {
        part: record.part,
        left_out: record.left_out,
        shards: record.shards.into_iter().map(|shard| shard.name).collect(),
        summary: record.summary,
    });
    let manifest = Manifest { settings, summary, parts: parts.collect() };
    put(&folder.join(SUMS), sums.as_bytes())?;
    let path = folder.join(MANIFEST);
    put(&path, &to_text(&path, &manifest)?)?;
    Ok(manifest)
}

/// Reads the records of all parts.
///
/// # Errors
/// If one is missing, or of another run than the plan.
fn records(folder: &Path) -> Result<Vec<(RunPart, PartRecord)>, PartsError> {
    let Some((plan, list)) = Plan::<Value>::read(&folder.join(PLAN))? else {
        return Err(PartsError::refuse(folder, "expected the plan of a run in parts, found none"));
    };
    let found = parts_in(folder)?;
    let of = plan.settings.get("number of parts").and_then(|of| of.parse().ok()).unwrap_or(0);
    if let Some(other) = found.iter().find(|part| part.of() != of) {
        let what =
            format!("expected parts of {of}, as part {} began, found part {other}", plan.part);
        return Err(PartsError::refuse(folder, what));
    }
    let mut records = Vec::new();
    for part in found {
        let path = folder.join(part.folder_name()).join(RECORD);
        let Some(record) = read::<PartRecord>(&path)? else {
            return Err(PartsError::refuse(&path, "expected the record of a part, found none"));
        };
        let (of, by) = (format!("part {}", plan.part), format!("part {part}"));
        if let Some(what) = difference((&plan.settings, &of), (&record.settings, &by)) {
            return Err(PartsError::refuse(folder, what));
        }
        if record.list != list {
            let what = format!("expected part {part} of the list in {PLAN}, found another list");
            return Err(PartsError::refuse(folder, what));
        }
        let is_of_part = |shard: &&ShardRecord| {
            shard.name.starts_with(&part.shard_stem()) && !shard.name.contains(['/', '\\'])
        };
        if let Some(other) = record.shards.iter().find(|shard| !is_of_part(shard)) {
            let what = format!("expected shards of part {part}, found {}", other.name);
            return Err(PartsError::refuse(&path, what));
        }
        records.push((part, record));
    }
    let mut missing = RunPart::all(of)
        .filter(|part| records.binary_search_by_key(&part.number(), |(p, _)| p.number()).is_err());
    let named: Vec<String> = missing.by_ref().take(MAX_NAMED).map(|p| p.to_string()).collect();
    if !named.is_empty() {
        let (names, more) = (named.join(", "), missing.count());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = format!("expected {of} parts, found {}: without {names}{more}", records.len());
        return Err(PartsError::refuse(folder, what));
    }
    Ok(records)
}

/// Checks that a folder of parts holds nothing but them.
fn ensure_all_are_ours(folder: &Path, records: &[(RunPart, PartRecord)]) -> Result<(), PartsError> {
    let shards = records.iter().flat_map(|(_, record)| &record.shards);
    let shards: HashSet<&str> = shards.map(|shard| shard.name.as_str()).collect();
    let is_ours = |name: &String| {
        [PLAN, SUMS].contains(&name.as_str())
            || RunPart::of_folder_name(name).is_some()
            || is_temporary(&folder.join(name))
            || shards.contains(name.as_str())
    };
    match names(folder)?.into_iter().find(|name| !is_ours(name)) {
        Some(other) => Err(foreign(folder, &other)),
        None => Ok(()),
    }
}

/// Checks that a shard has the size that its part recorded, where the part or a join that was
/// killed has put it.
fn ensure_whole(folder: &Path, part: RunPart, shard: &ShardRecord) -> Result<(), PartsError> {
    let of_part = place(folder, part, shard);
    let found = fs::metadata(&of_part).or_else(|_| fs::metadata(folder.join(&shard.name)));
    match found {
        Ok(found) if found.len() == shard.octets => Ok(()),
        Ok(found) => {
            let what = format!("expected {} octets, found {}", shard.octets, found.len());
            Err(PartsError::refuse(&of_part, what))
        }
        Err(error) => Err(PartsError::at(&of_part)(error)),
    }
}

/// Returns the path of a shard before the join.
fn place(folder: &Path, part: RunPart, shard: &ShardRecord) -> PathBuf {
    folder.join(part.folder_name()).join(&shard.name)
}

/// Removes from the folder of parts what the dataset does not need: the plan, the records, and
/// temporaries of processes that were killed.
///
/// # Errors
/// If there is a file that no part wrote.
fn clear(folder: &Path, manifest: &Manifest) -> Result<(), PartsError> {
    let stays: HashSet<&str> = manifest.parts.iter().flat_map(PartOfManifest::shards).collect();
    for name in names(folder)? {
        let path = folder.join(&name);
        if is_temporary(&path) || RunPart::of_folder_name(&name).is_some() || name == PLAN {
            remove(&path).map_err(PartsError::at(&path))?;
        } else if ![MANIFEST, SUMS].contains(&name.as_str()) && !stays.contains(name.as_str()) {
            return Err(foreign(folder, &name));
        }
    }
    Ok(())
}

/// Removes a file, or a folder with its contents.
fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Refuses a file that no part wrote.
fn foreign(folder: &Path, name: &str) -> PartsError {
    PartsError::refuse(folder, format!("expected parts alone, found {name}"))
}

/// Adds the numbers of a summary to those under the same keys, object by object. A value of another
/// kind stays as it was first.
fn add(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (None, value) => drop(into.insert(key.clone(), value.clone())),
            (Some(Value::Object(into)), Value::Object(from)) => add(into, from),
            (Some(sum @ Value::Number(_)), Value::Number(_)) => {
                *sum = match (sum.as_u64(), value.as_u64()) {
                    (Some(sum), Some(value)) => (sum + value).into(),
                    _ => (sum.as_f64().unwrap_or(0.0) + value.as_f64().unwrap_or(0.0)).into(),
                };
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn summaries_are_added_key_by_key() {
        let mut sum = Map::new();
        let parts = [
            json!({"n": 1, "classes": {"graceful": 2}, "dropped": false, "share": 0.5}),
            json!({"n": 3, "classes": {"graceful": 1, "reset": 4}, "dropped": false, "share": 0.25}),
            json!({"m": 7}),
        ];
        parts.iter().for_each(|part| add(&mut sum, part.as_object().unwrap()));
        let expected = json!({"n": 4, "classes": {"graceful": 3, "reset": 4}, "dropped": false,
            "share": 0.75, "m": 7});
        assert_eq!(Value::Object(sum), expected);
    }
}
