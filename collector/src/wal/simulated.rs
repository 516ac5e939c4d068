//! A disk in memory that loses what real ones may lose, and no more. Everything it does follows from its seed.
//!
//! | at a power cut | what is left |
//! |---|---|
//! | bytes that were synced | all of them |
//! | bytes that were not | each sector of 512 bytes as it was, or as it became, or as zeros; the length is anywhere between |
//! | changes of names since the directory was synced | some of them: the first ones, or any |
//!
//! A process that is killed loses nothing that it wrote. A full disk takes the first part of an append. A sync that fails
//! leaves bytes that no later sync brings to the disk, though that one succeeds; they are gone after a restart.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Error, ErrorKind, Result},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;
use uuid::Uuid;

use super::{
    Access, WalError,
    disk::{Disk, DiskFile, parent},
};

const SECTOR_BYTES: usize = 512;

/// A simulated disk; its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power goes; a write is done in part. Nothing is answered any more until [`SimulatedDisk::restart`].
    PowerCut,
    /// The process is killed before the operation. Nothing is answered any more either.
    Kill,
    /// The next sync from here on fails.
    Sync,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    names: BTreeMap<PathBuf, u64>,
    /// As a power cut would leave them.
    durable_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since, in order.
    changes: Vec<Change>,
    files: HashMap<u64, Content>,
    next_file: u64,
    capacity_bytes: u64,
    /// Operations that change something, so far.
    operations: u64,
    /// What goes wrong, and at which operation.
    fault: Option<(u64, Fault)>,
    down: Option<Fault>,
    /// Counts restarts: an open file does not outlive one.
    life: u64,
    read_bytes: u64,
}

#[derive(Clone, Debug)]
struct Change {
    /// The name that ends, and the one that begins, with its file.
    from: Option<PathBuf>,
    to: Option<(PathBuf, u64)>,
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        if let Some((to, file)) = &self.to {
            names.insert(to.clone(), *file);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    synced: Vec<u8>,
    /// A sync has failed: what it should have written is not written by a later one.
    is_lost: bool,
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng::with_seed(seed),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            files: HashMap::new(),
            next_file: 0,
            capacity_bytes: u64::MAX,
            operations: 0,
            fault: None,
            down: None,
            life: 0,
            read_bytes: 0,
        })))
    }

    /// Has something go wrong after so many more operations that change something.
    pub(crate) fn fail_after(&self, operations: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + operations, fault));
    }

    /// Bytes that all files may take.
    pub(crate) fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Bytes that all files take.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Bytes that were read since the last call.
    pub(crate) fn take_read_bytes(&self) -> u64 {
        std::mem::take(&mut self.state().read_bytes)
    }

    /// Whether a power cut or a kill has come.
    pub(crate) fn is_down(&self) -> bool {
        self.state().down.is_some()
    }

    /// Is there again as the fault left it: as a kill does, if there was none.
    pub(crate) fn restart(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.fault = None;
        state.life += 1;
        match state.down.take() {
            Some(Fault::PowerCut) => state.forget_what_was_not_synced(),
            Some(Fault::Kill | Fault::Sync) | None => {}
        }
        // What a sync could not write has left the cache by now.
        state.files.values_mut().filter(|content| content.is_lost).for_each(Content::drop_unsynced);
        let named: Vec<u64> = state.names.values().chain(state.durable_names.values()).copied().collect();
        state.files.retain(|file, _| named.contains(file) || state.changes.iter().any(|change| change.names(*file)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, path: &Path) -> Result<SimulatedFile> {
        let state = self.state();
        state.check_up()?;
        let file = *state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(SimulatedFile { disk: self.clone(), file, life: state.life })
    }
}

impl Change {
    fn names(&self, file: u64) -> bool {
        self.to.as_ref().is_some_and(|(_, named)| *named == file)
    }
}

impl State {
    /// Counts an operation that changes something.
    fn begin(&mut self) -> Result<()> {
        self.check_up()?;
        self.operations += 1;
        if let Some((at, fault @ (Fault::PowerCut | Fault::Kill))) = self.fault
            && self.operations >= at
        {
            self.down = Some(fault);
        }
        Ok(())
    }

    fn check_up(&self) -> Result<()> {
        if self.down.is_some() { Err(Error::other("the simulated machine is down")) } else { Ok(()) }
    }

    fn change(&mut self, change: Change) -> Result<()> {
        self.begin()?;
        self.check_up()?;
        change.apply(&mut self.names);
        self.changes.push(change);
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|content| content.seen.len() as u64).sum()
    }

    fn content(&mut self, file: u64) -> &mut Content {
        self.files.get_mut(&file).expect("a file stays while somebody has it open")
    }

    fn forget_what_was_not_synced(&mut self) {
        let rng = &mut self.rng;
        let in_order = rng.bool();
        let kept = rng.usize(0..=self.changes.len());
        for (index, change) in self.changes.drain(..).enumerate() {
            if if in_order { index < kept } else { rng.bool() } {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let mut files: Vec<_> = self.files.iter_mut().collect();
        files.sort_unstable_by_key(|(file, _)| **file);
        for (_, content) in files {
            content.forget(rng);
        }
    }
}

impl Content {
    fn drop_unsynced(&mut self) {
        self.seen.clone_from(&self.synced);
        self.is_lost = false;
    }

    fn forget(&mut self, rng: &mut Rng) {
        let (shorter, longer) = (self.seen.len().min(self.synced.len()), self.seen.len().max(self.synced.len()));
        let length = match rng.u8(0..3) {
            0 => self.synced.len(),
            1 => self.seen.len(),
            _ => rng.usize(shorter..=longer),
        };
        let mut left = vec![0; length];
        for begin in (0..length).step_by(SECTOR_BYTES) {
            let end = length.min(begin + SECTOR_BYTES);
            let source = if rng.bool() { &self.seen } else { &self.synced };
            // Where the one that is chosen has no bytes, there are zeros.
            let written = source.get(begin..source.len().min(end)).unwrap_or_default();
            left[begin..begin + written.len()].copy_from_slice(written);
        }
        *self = Self { seen: left.clone(), synced: left, is_lost: false };
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
    life: u64,
}

impl SimulatedFile {
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check_up()?;
        if state.life == self.life { Ok(state) } else { Err(Error::other("its process has ended")) }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;
    type Lock = ();

    fn lock(&self, _: &Path, _: Access) -> std::result::Result<(), WalError> {
        Ok(())
    }

    fn create_directory(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
        let state = self.state();
        state.check_up()?;
        let listed = state.names.iter().filter(|(path, _)| parent(path) == directory);
        Ok(listed.map(|(path, file)| (path.clone(), state.files[file].seen.len() as u64)).collect())
    }

    fn sync_directory(&self, _: &Path) -> Result<()> {
        let mut state = self.state();
        state.begin()?;
        state.check_up()?;
        state.changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<SimulatedFile> {
        {
            let mut state = self.state();
            state.next_file += 1;
            let file = state.next_file;
            state.files.insert(file, Content::default());
            state.change(Change { from: None, to: Some((path.to_owned(), file)) })?;
        }
        self.open(path)
    }

    fn open_to_append(&self, path: &Path) -> Result<SimulatedFile> {
        self.open(path)
    }

    fn open_to_read(&self, path: &Path) -> Result<SimulatedFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state();
        let file = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        state.change(Change { from: Some(from.to_owned()), to: Some((to.to_owned(), file)) })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change(Change { from: Some(path.to_owned()), to: None })
    }

    fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.state().rng.u128(..).to_le_bytes()).into_uuid()
    }
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut state = self.state()?;
        state.begin()?;
        let room = usize::try_from(state.capacity_bytes.saturating_sub(state.used_bytes())).unwrap_or(usize::MAX);
        let taken = match state.down {
            Some(Fault::PowerCut) => state.rng.usize(0..=bytes.len()).min(room),
            Some(_) => 0,
            None => bytes.len().min(room),
        };
        state.content(self.file).seen.extend_from_slice(&bytes[..taken]);
        state.check_up()?;
        if taken < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let mut state = self.state()?;
        let content = &state.content(self.file).seen;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = bytes.len().min(content.len() - from);
        bytes[..count].copy_from_slice(&content[from..from + count]);
        state.read_bytes += count as u64;
        Ok(count)
    }

    fn truncate(&mut self, length: u64) -> Result<()> {
        let mut state = self.state()?;
        state.begin()?;
        state.check_up()?;
        state.content(self.file).seen.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let mut state = self.state()?;
        state.begin()?;
        state.check_up()?;
        if let Some((at, Fault::Sync)) = state.fault
            && state.operations >= at
        {
            state.fault = None;
            state.content(self.file).is_lost = true;
            return Err(Error::from_raw_os_error(5));
        }
        let content = state.content(self.file);
        if !content.is_lost {
            content.synced.clone_from(&content.seen);
        }
        Ok(())
    }
}
