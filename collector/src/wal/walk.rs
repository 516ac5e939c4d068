//! A walk over all that a stopped log holds, intact or not, for a person with a broken machine. It changes nothing.

use std::path::Path;

use super::{Frame, Position, WalError, WalReader};

/// What the walk comes to.
#[derive(Debug)]
pub enum Walked<'a> {
    /// The head of a segment.
    Segment {
        /// The file.
        path: &'a Path,
        /// Position of its first frame.
        first: Position,
        /// Its size.
        bytes: u64,
        /// Size of the note at its head.
        note_bytes: u64,
    },
    /// An intact frame.
    Frame(Frame),
    /// Damage. At the end of the newest segment it is a write that was interrupted, and that nobody was answered for.
    Damaged(WalError),
}

impl WalReader {
    /// Goes through all segments, oldest first, and on over damage as far as frames can be found behind it. Ends early
    /// when `visit` returns an error, with that error.
    ///
    /// # Errors
    /// Those of `visit`; and when a file cannot be read.
    pub fn walk<E: From<WalError>>(&self, mut visit: impl FnMut(Walked<'_>) -> Result<(), E>) -> Result<(), E> {
        for segment in &self.segments {
            let (note_bytes, mut frames) = match segment.read() {
                Ok((note, frames)) => (note.len() as u64, frames),
                Err(damaged @ WalError::Damaged { .. }) => {
                    visit(Walked::Damaged(damaged))?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (path, first, bytes) = (segment.path(), segment.first(), segment.length());
            visit(Walked::Segment { path, first, bytes, note_bytes })?;
            loop {
                match frames.next_frame() {
                    Ok(Some(frame)) => visit(Walked::Frame(frame))?,
                    Ok(None) => break,
                    Err(damaged @ WalError::Damaged { .. }) => {
                        visit(Walked::Damaged(damaged))?;
                        if !frames.step_over() {
                            break;
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
