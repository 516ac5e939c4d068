//! The configuration, read again: on SIGHUP, and when one of its files changes.
//!
//! What always holds: all or nothing. A configuration with a fault changes nothing and is logged; one without takes the
//! place of the other between two requests, and no connection ends. What listens, and where telemetry goes, stays as it
//! was at the start.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use weir_station::{config::Document, watched::Seen};

use crate::{
    config::{Config, OTHER_SECTIONS},
    serving::Serving,
};

/// Between two looks at the files. A look is one `stat` for each.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is needed to read the configuration again.
pub(crate) struct Reloading {
    /// The configuration's file.
    pub file: PathBuf,
    /// Directory of data, as it was at the start.
    pub data: PathBuf,
    /// Its files, that one included.
    pub files: Vec<PathBuf>,
    /// When they were read at the start.
    pub read: SystemTime,
    /// What is served.
    pub serving: watch::Sender<Arc<Serving>>,
    /// The configuration as it is in force, secrets masked.
    pub shown: watch::Sender<String>,
}

impl Reloading {
    /// Follows the files until `shutdown`.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub(crate) async fn follow(mut self, shutdown: CancellationToken) -> io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What changed while the gateway started is seen at once.
        let mut seen = Seen::at(&self.files, self.read);
        loop {
            let is_asked = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = hangups.recv() => true,
                _ = looks.tick() => false,
            };
            if seen.has_changed(&self.files) || is_asked {
                let before = self.files.clone();
                self.reload();
                // What changed since `has_changed` shows at the next look, and so must what changed before other files
                // were looked at for the first time: nobody has seen those otherwise.
                if self.files != before {
                    seen = if seen.has_changed(&before) { Seen::of(&[]) } else { Seen::of(&self.files) };
                }
            }
        }
    }

    fn reload(&mut self) {
        // In our own hands: what is looked at in its channel cannot be replaced meanwhile.
        let previous = Arc::clone(&self.serving.borrow());
        let mut named = Vec::new();
        match read(&self.file, &self.data, &previous, &mut named) {
            Ok((shown, serving)) => {
                self.files = named;
                self.serving.send_replace(Arc::new(serving));
                self.shown.send_replace(shown);
                tracing::info!(file = %self.file.display(), "configuration read again");
            }
            Err(faults) => {
                // It may be one of its files that has the fault, and that will be mended.
                named.retain(|file| !self.files.contains(file));
                self.files.append(&mut named);
                tracing::error!(file = %self.file.display(), %faults, "configuration not taken; the one before stays");
            }
        }
    }
}

/// The configuration as it is shown, and what it serves. `files` gets those that it names, whatever is in them.
fn read(file: &Path, data: &Path, previous: &Serving, files: &mut Vec<PathBuf>) -> Result<(String, Serving), String> {
    let document = Document::load(Some(file)).map_err(|faults| faults.to_string())?;
    // The key belongs to all stations; its value is as it was at the start.
    let _ = document.top().optional::<PathBuf>("data");
    let config = Config::read(&document, data);
    *files = config.files(file);
    let resolved = document.finish(OTHER_SECTIONS).map_err(|faults| faults.to_string())?;
    let serving = Serving::new(&config, Some(previous)).map_err(|error| error.to_string())?;
    Ok((resolved.to_string(), serving))
}
