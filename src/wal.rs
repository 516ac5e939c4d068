//! `weir wal`: what a stopped collector's write-ahead log holds, for a person with a broken machine. Changes nothing.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Subcommand;
use serde_json::{Value, json};
use weir_collector::{
    Signal,
    wal::{Damage, Frame, Wal, WalError, WalReader, Walked},
};
use weir_record::{line, otlp};
use weir_station::exit::Failure;

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub(crate) enum WalCommand {
    /// Show the segments, what they hold, and what is damaged
    Inspect {
        /// Directory of the log
        #[arg(default_value = "weir-data/wal", value_name = "DIR")]
        directory: PathBuf,
        /// A JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Read everything and check it; exit code 1 when anything is damaged
    Verify {
        /// Directory of the log
        #[arg(default_value = "weir-data/wal", value_name = "DIR")]
        directory: PathBuf,
    },
    /// Write the messages out, a JSON object a line
    Export {
        /// Directory of the log
        #[arg(default_value = "weir-data/wal", value_name = "DIR")]
        directory: PathBuf,
        /// Leave out messages up to this position
        #[arg(long, value_name = "POSITION", default_value_t = 0)]
        after: u64,
        /// Leave out messages beyond this position
        #[arg(long, value_name = "POSITION", default_value_t = u64::MAX)]
        through: u64,
        /// File to write to; "-" is standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        to: PathBuf,
        /// The OTLP bytes of each message in base64, in place of its records
        #[arg(long)]
        raw: bool,
    },
}

/// What goes wrong on the way.
#[derive(Debug, thiserror::Error)]
enum WalkError {
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs `weir wal`.
pub(crate) fn run(command: WalCommand) -> Result<(), Failure> {
    match command {
        WalCommand::Inspect { directory, json } => inspect(&open(&directory)?, json).map_err(Failure::running),
        WalCommand::Verify { directory } => verify(&open(&directory)?),
        WalCommand::Export { directory, after, through, to, raw } => {
            let log = open(&directory)?;
            let mut output: Box<dyn Write> = if to.as_os_str() == "-" {
                Box::new(io::stdout().lock())
            } else {
                Box::new(File::create(&to).map_err(|error| Failure::usage(format!("{}: {error}", to.display())))?)
            };
            let written = export(&log, &mut BufWriter::new(&mut output), after..=through, raw);
            match written {
                // Whoever reads has seen enough.
                Err(WalkError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written.map_err(Failure::running),
            }
        }
    }
}

fn open(directory: &Path) -> Result<WalReader, Failure> {
    Wal::read(directory).map_err(|error| match error {
        in_use @ WalError::InUse { .. } => Failure::usage(format!("{in_use}; stop it to look at its log")),
        other => Failure::usage(other),
    })
}

/// What was seen of one segment.
#[derive(Default)]
struct Segment {
    name: String,
    bytes: u64,
    note_bytes: Option<u64>,
    first: u64,
    last: Option<u64>,
    frames: u64,
    damage: Vec<String>,
}

impl Segment {
    #[expect(clippy::print_stdout, reason = "what is in the log is this command's output")]
    fn show(&self, as_json: bool) {
        let Self { name, bytes, note_bytes, first, last, frames, damage } = self;
        if as_json {
            let line = json!({"segment": name, "bytes": bytes, "note_bytes": note_bytes, "first": first, "last": last,
                              "frames": frames, "damage": damage});
            println!("{line}");
            return;
        }
        let positions = last.map_or_else(|| format!("from {first}"), |last| format!("{first} to {last}"));
        println!("{name}  {bytes:>12} bytes  {frames:>9} messages  {positions}");
        for damage in damage {
            println!("    {damage}");
        }
    }
}

fn inspect(log: &WalReader, as_json: bool) -> Result<(), WalkError> {
    let mut segment: Option<Segment> = None;
    log.walk(|walked| {
        match walked {
            Walked::Segment { path, first, bytes, note_bytes } => {
                if let Some(done) = segment.take() {
                    done.show(as_json);
                }
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                segment = Some(Segment { name, bytes, note_bytes, first: first.get(), ..Segment::default() });
            }
            Walked::Frame(frame) => {
                if let Some(segment) = &mut segment {
                    segment.last = Some(frame.position.get());
                    segment.frames += 1;
                }
            }
            Walked::Damaged(damage) => segment.get_or_insert_default().damage.push(damage.to_string()),
            Walked::TornTail(damage) => segment.get_or_insert_default().damage.push(torn(damage)),
        }
        Ok::<_, WalkError>(())
    })?;
    if let Some(done) = segment {
        done.show(as_json);
    }
    Ok(())
}

/// What is said of the end of a log.
fn torn(tail: &Damage) -> String {
    let Damage { segment, offset, bytes, .. } = tail;
    let segment = segment.display();
    format!(
        "{segment} is damaged at byte {offset}: its last {bytes} bytes are a write that was interrupted, and that nobody was answered for"
    )
}

fn verify(log: &WalReader) -> Result<(), Failure> {
    let (mut frames, mut damage) = (0_u64, Vec::new());
    let walked = log.walk(|walked| {
        match walked {
            Walked::Segment { .. } => {}
            Walked::Frame(frame) => {
                frames += 1;
                if let Err(reason) = records(frame) {
                    damage.push(format!("the message at position {} does not decode: {reason}", frame.position));
                }
            }
            Walked::Damaged(found) => damage.push(found.to_string()),
            Walked::TornTail(tail) => damage.push(torn(tail)),
        }
        Ok::<_, WalkError>(())
    });
    walked.map_err(Failure::running)?;
    if damage.is_empty() {
        #[expect(clippy::print_stdout, reason = "the verdict is this command's output")]
        {
            println!("{frames} messages, all intact");
        }
        return Ok(());
    }
    damage.push(format!("{frames} messages are intact; the collector reads on behind damage, and counts what is lost"));
    Err(Failure::running(damage.join("\n")))
}

fn export(
    log: &WalReader,
    output: &mut impl Write,
    positions: std::ops::RangeInclusive<u64>,
    raw: bool,
) -> Result<(), WalkError> {
    log.walk(|walked| {
        match walked {
            Walked::Frame(frame)
                if positions.contains(&frame.position.get()) && frame.position.get() > *positions.start() =>
            {
                writeln!(output, "{}", exported(frame, raw))?;
            }
            Walked::Frame(_) | Walked::Segment { .. } => {}
            Walked::Damaged(damage) => writeln!(output, "{}", json!({ "damaged": damage.to_string() }))?,
            Walked::TornTail(tail) => writeln!(output, "{}", json!({ "damaged": torn(tail) }))?,
        }
        Ok::<_, WalkError>(())
    })?;
    Ok(output.flush()?)
}

/// A message as a line.
fn exported(frame: &Frame, raw: bool) -> Value {
    let signal = Signal::from_frame_kind(frame.kind).map(Signal::name);
    let mut line = json!({"position": frame.position.get(), "received_us": frame.received_us, "signal": signal});
    if raw {
        line["otlp"] = BASE64_STANDARD.encode(&frame.body).into();
        return line;
    }
    match records(frame) {
        Ok(batches) => line["batches"] = batches,
        Err(reason) => line["error"] = reason.into(),
    }
    line
}

/// What a message says, batch by batch.
fn records(frame: &Frame) -> Result<Value, String> {
    let as_json = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let source = |source: &weir_record::Source| {
        let sequence = source.stamp.map(|stamp| stamp.sequence);
        json!({"service": source.service, "instance": source.instance, "sequence": sequence})
    };
    match Signal::from_frame_kind(frame.kind) {
        Some(Signal::Logs) => {
            let batches = otlp::decode_logs(&frame.body).map_err(|error| error.to_string())?;
            let batches = batches.iter().map(|batch| {
                let records: Vec<Value> = batch.records.iter().map(|record| as_json(line::json(record))).collect();
                json!({"source": source(&batch.source), "records": records})
            });
            Ok(batches.collect())
        }
        Some(Signal::Traces) => {
            let batches = otlp::decode_traces(&frame.body).map_err(|error| error.to_string())?;
            let batches = batches.iter().map(|part| {
                let spans = part.batch.records.iter().map(|span| {
                    json!({"name": span.name, "trace_id": span.trace_id.to_string(), "span_id": span.span_id.to_string(),
                           "time_us": span.time_us, "duration_us": span.duration_us})
                });
                json!({"source": source(&part.batch.source), "spans": spans.collect::<Vec<_>>()})
            });
            Ok(batches.collect())
        }
        None => Err(format!("no signal has the number {}", frame.kind)),
    }
}
