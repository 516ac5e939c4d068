//! Keys and changes of size, read from the terminal on a thread of their own: the terminal cannot be awaited.

use std::{io, time::Duration};

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::state::Key;

/// How long the thread waits for a key before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// What comes from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A key the dashboard knows.
    Key(Key),
    /// Another size.
    Resized,
}

/// Sends what comes until `shutdown`, or until nobody listens. Blocks; when keys come faster than they are taken, it
/// waits, and the terminal keeps them.
///
/// # Errors
/// When the terminal cannot be read.
pub(crate) fn read_inputs(inputs: &mpsc::Sender<Input>, shutdown: &CancellationToken) -> io::Result<()> {
    while !shutdown.is_cancelled() && !inputs.is_closed() {
        if !poll(PATIENCE)? {
            continue;
        }
        let input = match read()? {
            Event::Key(event) => translate(event).map(Input::Key),
            Event::Resize(..) => Some(Input::Resized),
            _ => None,
        };
        if let Some(input) = input
            && inputs.blocking_send(input).is_err()
        {
            break;
        }
    }
    Ok(())
}

fn translate(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    if event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        let interrupt = event.modifiers == KeyModifiers::CONTROL && event.code == KeyCode::Char('c');
        return interrupt.then_some(Key::Interrupt);
    }
    Some(match event.code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Esc => Key::Escape,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_c_interrupts_and_other_chords_are_nothing() {
        let press = |code, modifiers| translate(KeyEvent::new(code, modifiers));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::ALT), None);
        assert_eq!(press(KeyCode::Char('S'), KeyModifiers::SHIFT), Some(Key::Char('S')));
    }

    #[test]
    fn a_key_counts_once_when_it_goes_down() {
        let event = KeyEvent::new_with_kind(KeyCode::Down, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(translate(event), None);
    }
}
