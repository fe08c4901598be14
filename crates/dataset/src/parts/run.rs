//! One part of a run: where it is written, and whether it is there.

use std::io::Write;
use std::path::{Path, PathBuf};

use atomic_output::{AtomicFile, FileKind, OnExisting, has_name_like};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::record::{
    MANIFEST, Manifest, PLAN, PartOfManifest, PartRecord, PartReport, PartsError, Plan, RECORD,
    RunSettings, difference, names, put, read, to_text,
};
use super::run_part::RunPart;

/// Part of a run that several processes share, such as those of a cluster. Each writes its part to
/// the folder `OUTPUT.parts`, and [`join`](super::join) makes OUTPUT of them.
#[derive(Debug)]
pub struct PartRun {
    part: RunPart,
    output: PathBuf,
    /// Folder of all parts.
    folder: PathBuf,
    settings: RunSettings,
    /// Fingerprint of the list of the run's work, once it is known.
    list: Option<String>,
}

/// Files that may be in the folder of a part.
const PART_FILE: FileKind = FileKind {
    name: "a part of a dataset",
    is_at: |path| has_name_like(path, RECORD) || has_name_like(path, "flows-*"),
};

impl PartRun {
    /// Creates a part of the run that has these settings and makes the folder `output`.
    ///
    /// # Errors
    /// If `output` is no name for a folder.
    pub fn new(
        output: &Path,
        part: RunPart,
        mut settings: RunSettings,
    ) -> Result<PartRun, PartsError> {
        settings.insert("number of parts".to_owned(), part.of().to_string());
        Ok(PartRun {
            part,
            output: output.to_owned(),
            folder: folder_of(output)?,
            settings,
            list: None,
        })
    }

    /// Returns the part of the run.
    #[must_use]
    pub fn part(&self) -> RunPart {
        self.part
    }

    /// Returns the record of the part if it is complete, joined or not, and is to be kept.
    ///
    /// # Errors
    /// If the part is complete, and is neither to be kept (`resume`) nor to be replaced (`force`),
    /// or if the output, the plan or a part there is one of another run.
    pub fn kept(&self, resume: bool, force: bool) -> Result<Option<PartRecord>, PartsError> {
        let manifest = self.folder.join(MANIFEST);
        if force && manifest.exists() {
            let what =
                "expected parts that are not joined, found a join that was killed: --join ends it";
            return Err(PartsError::refuse(&manifest, what));
        }
        // What is to be replaced may be of any run.
        let output = Some(&self.output).filter(|_| !force);
        match self.done(output)? {
            Some(_) if !resume && !force => {
                let what =
                    "expected none there, found one (--resume keeps it, --force replaces it)";
                Err(PartsError::refuse(&self.folder, format!("part {}: {what}", self.part)))
            }
            done => Ok(done.filter(|_| resume)),
        }
    }

    /// Returns the record of the part if it is complete: in `output`, where parts are joined, or in
    /// the folder of parts.
    fn done(&self, output: Option<&PathBuf>) -> Result<Option<PartRecord>, PartsError> {
        for folder in output.into_iter().chain([&self.folder]) {
            let path = folder.join(MANIFEST);
            if let Some(manifest) = read::<Manifest>(&path)? {
                self.ensure_same(&path, &manifest.settings, "the dataset there")?;
                let of_part = |part: &&PartOfManifest| part.part == self.part.to_string();
                return Ok(manifest.parts.iter().find(of_part).map(|part| PartRecord {
                    part: part.part.clone(),
                    settings: manifest.settings.clone(),
                    list: String::new(),
                    left_out: part.left_out,
                    shards: Vec::new(),
                    summary: part.summary.clone(),
                }));
            }
        }
        if let Some(plan) = read::<Plan<Value>>(&self.folder.join(PLAN))? {
            self.ensure_same(&self.folder, &plan.settings, &format!("part {}", plan.part))?;
        }
        let path = self.path().join(RECORD);
        let record = read::<PartRecord>(&path)?;
        if let Some(record) = &record {
            self.ensure_same(&path, &record.settings, &format!("part {}", record.part))?;
        }
        Ok(record)
    }

    /// Returns the list of the run's work: that of the part that began first, which `find` makes.
    /// Inputs that change while the parts run are so the same for all of them.
    ///
    /// # Errors
    /// If `find` fails, the plan cannot be written, or is one of another run.
    pub fn list<L: Serialize + DeserializeOwned, E: From<PartsError>>(
        &mut self,
        find: impl FnOnce() -> Result<L, E>,
    ) -> Result<L, E> {
        let path = self.folder.join(PLAN);
        if let Some(list) = self.planned(&path)? {
            return Ok(list);
        }
        let part = self.part.to_string();
        let plan = Plan { part, settings: self.settings.clone(), list: find()? };
        let text = to_text(&path, &plan)?;
        let written = AtomicFile::create(&path, OnExisting::Fail).and_then(|mut file| {
            file.write_all(&text)
                .map_err(|source| atomic_output::Error::Io { path: path.clone(), source })?;
            file.commit()
        });
        match written {
            // Where another part was faster, its list counts.
            Ok(()) | Err(atomic_output::Error::Exists(_)) => {
                let gone = || PartsError::refuse(&path, "expected the plan of the run, found none");
                Ok(self.planned(&path)?.ok_or_else(gone)?)
            }
            Err(error) => Err(PartsError::from(error).into()),
        }
    }

    /// Returns the list of the plan, if there is one, and keeps its fingerprint.
    fn planned<L: DeserializeOwned>(&mut self, path: &Path) -> Result<Option<L>, PartsError> {
        let Some((plan, list)) = Plan::<L>::read(path)? else { return Ok(None) };
        self.ensure_same(path, &plan.settings, &format!("part {}", plan.part))?;
        self.list = Some(list);
        Ok(Some(plan.list))
    }

    /// Returns the folder of the part, until the run is joined.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(self.part.folder_name())
    }

    /// Returns the action if the part's folder exists: it is replaced if `force` is set.
    pub(crate) fn on_existing(force: bool) -> OnExisting {
        PART_FILE.on_existing(force)
    }

    /// Writes the record of the part into its folder, which has all shards.
    pub(crate) fn put_record(&self, folder: &Path, report: PartReport) -> Result<(), PartsError> {
        let list = self.list.clone().unwrap_or_default();
        let record = PartRecord::of_folder(folder, self.part, (&self.settings, list), report)?;
        let path = folder.join(RECORD);
        put(&path, &to_text(&path, &record)?)
    }

    fn ensure_same(&self, path: &Path, found: &RunSettings, of: &str) -> Result<(), PartsError> {
        let by = format!("part {}", self.part);
        match difference((found, of), (&self.settings, &by)) {
            Some(what) => Err(PartsError::refuse(path, what)),
            None => Ok(()),
        }
    }
}

/// Returns the folder of the parts that become `output`: `OUTPUT.parts`, next to it.
pub(crate) fn folder_of(output: &Path) -> Result<PathBuf, PartsError> {
    let Some(name) = output.file_name() else {
        return Err(PartsError::refuse(output, "expected a name for a folder"));
    };
    let mut name = name.to_owned();
    name.push(".parts");
    Ok(output.with_file_name(name))
}

/// Returns the parts whose folders are in the folder of a run, in order.
pub(crate) fn parts_in(folder: &Path) -> Result<Vec<RunPart>, PartsError> {
    Ok(names(folder)?.iter().filter_map(|name| RunPart::of_folder_name(name)).collect())
}
