//! Captures side by side, results in order.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use arrowio::FlowRow;
use clikit::Progress;
use flowtrack::Flow;
use tcpwire::ReadError;

use crate::capture::{self, Batch, Judge, Options, Report, Wanted};
use crate::flow_log::Line;
use crate::rows::ConversationEncoder;

/// One capture to read.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its file; `None` for stdin.
    pub(crate) path: Option<PathBuf>,
    /// Its name in the flow log and the dataset; a number where what is written is to say nothing
    /// of whence it came.
    pub(crate) name: String,
}

impl Task {
    /// Its name in messages.
    pub(crate) fn shown(&self) -> String {
        self.path.as_deref().map_or_else(|| "-".to_owned(), |p: &Path| p.display().to_string())
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.path {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(File::open(path)?),
        })
    }
}

/// What comes of a capture: rows and lines of the flow log, then what there is to say of it.
pub(crate) enum Message {
    Rows(Vec<FlowRow>),
    Lines(Vec<Line>),
    Done(Box<Report>),
}

/// Rows are handed over when they hold so many tokens.
const TOKENS_AT_A_TIME: usize = 1 << 16;
/// Lines are handed over when there are so many.
const LINES_AT_A_TIME: usize = 256;
/// Hand-overs of one capture that may wait.
const WAITING: usize = 8;

/// Reads all captures and hands what comes of each to `take`, capture by capture in their order.
pub(crate) fn read_all(
    tasks: &[Task],
    jobs: usize,
    options: &Options,
    progress: &Progress,
    mut take: impl FnMut(&Task, Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if jobs == 1 {
        return tasks.iter().try_for_each(|task| {
            read_one(task, Threads::One, options, progress, &mut |m| take(task, m))
        });
    }
    if let [task] = tasks {
        return read_one(task, Threads::Two, options, progress, &mut |m| take(task, m));
    }
    type Slot = (SyncSender<anyhow::Result<Message>>, Receiver<anyhow::Result<Message>>);
    let (senders, receivers): (Vec<_>, Vec<_>) = tasks
        .iter()
        .map(|_| -> Slot { sync_channel(WAITING) })
        .map(|(sender, receiver)| (Mutex::new(Some(sender)), receiver))
        .unzip();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(at) else { return };
                    let sender = senders[at]
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .take();
                    let Some(sender) = sender else { return };
                    let sent = read_one(task, Threads::One, options, progress, &mut |message| {
                        sender
                            .send(Ok(message))
                            .map_err(|_| anyhow::anyhow!("the writer has stopped"))
                    });
                    if let Err(error) = sent {
                        // Where nobody listens any more, the writer's own error is the one to tell.
                        drop(sender.send(Err(error)));
                    }
                }
            });
        }
        let taken = tasks.iter().zip(receivers).try_for_each(|(task, receiver)| {
            receiver.into_iter().try_for_each(|message| take(task, message?))
        });
        if taken.is_err() {
            next.store(tasks.len(), Ordering::Relaxed);
        }
        taken
    })
}

/// Threads for one capture.
#[derive(Clone, Copy)]
enum Threads {
    One,
    /// One reads and tracks, the other one encodes.
    Two,
}

/// Reads one capture. One that can not be opened is a damaged one.
fn read_one(
    task: &Task,
    threads: Threads,
    options: &Options,
    progress: &Progress,
    hand: &mut dyn FnMut(Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let input = match task.open() {
        Ok(input) => Counted { input, progress },
        Err(source) => {
            let damage = Some(ReadError::Io { offset: 0, frame: 1, source });
            return hand(Message::Done(Box::new(Report { damage, ..Report::default() })));
        }
    };
    let encoder = ConversationEncoder::new(options);
    let rows = Rows { task, encoder, rows: Vec::new(), tokens: 0, lines: Vec::new(), hand };
    let mut taking = Taking { judge: Judge::new(&task.name, options), rows };
    let read = match threads {
        Threads::One => read_alone(input, options, &mut taking),
        Threads::Two => read_in_two(input, options, &mut taking),
    }?;
    taking.finish(read)
}

/// Judges batches, one after the other.
struct Taking<'t> {
    judge: Judge<'t>,
    rows: Rows<'t>,
}

impl Taking<'_> {
    /// Gives the flows back, for their buffers.
    fn take(&mut self, batch: Batch) -> anyhow::Result<Vec<Flow>> {
        for one in &batch.ended {
            self.judge.take(one, &mut |wanted| self.rows.encode(wanted))?;
        }
        batch.forgotten.into_iter().for_each(|record| self.judge.settle(record));
        self.log()?;
        Ok(batch.ended.into_iter().filter_map(|one| one.flow).collect())
    }

    /// Hands on the lines of the flow log that are whole.
    fn log(&mut self) -> anyhow::Result<()> {
        while let Some(line) = self.judge.next_line() {
            self.rows.log(line)?;
        }
        Ok(())
    }

    fn finish(mut self, read: capture::Read) -> anyhow::Result<()> {
        for record in read.tracker.summaries() {
            self.judge.settle(record);
            self.log()?;
        }
        self.rows.finish(self.judge.report(read))
    }
}

fn read_alone(
    input: impl Read + Send,
    options: &Options,
    taking: &mut Taking<'_>,
) -> anyhow::Result<capture::Read> {
    capture::read(input, options, &mut |tracker, batch| {
        taking.take(batch)?.into_iter().for_each(|flow| tracker.recycle(flow));
        Ok(())
    })
}

/// Batches on their way to be judged that may wait.
const BATCHES_WAITING: usize = 8;

fn read_in_two(
    input: impl Read + Send,
    options: &Options,
    taking: &mut Taking<'_>,
) -> anyhow::Result<capture::Read> {
    let (sender, receiver) = sync_channel::<Batch>(BATCHES_WAITING);
    let (back, returned) = channel::<Vec<Flow>>();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            capture::read(input, options, &mut |tracker, batch| {
                returned.try_iter().flatten().for_each(|flow| tracker.recycle(flow));
                sender.send(batch).map_err(|_| anyhow::anyhow!("the encoder has stopped"))
            })
        });
        for batch in receiver {
            // The reader may be done, and need no buffers any more.
            drop(back.send(taking.take(batch)?));
        }
        reading.join().map_err(|_| anyhow::anyhow!("the reader failed"))?
    })
}

/// Gathers rows and lines until they are worth handing over.
struct Rows<'r> {
    task: &'r Task,
    encoder: ConversationEncoder<'r>,
    rows: Vec<FlowRow>,
    tokens: usize,
    lines: Vec<Line>,
    hand: &'r mut dyn FnMut(Message) -> anyhow::Result<()>,
}

impl Rows<'_> {
    fn encode(&mut self, wanted: &Wanted<'_>) -> anyhow::Result<Result<(), String>> {
        let row = match self.encoder.encode(wanted, &self.task.name) {
            Ok(row) => row,
            Err(reason) => return Ok(Err(reason)),
        };
        self.tokens += row.tokens.len();
        self.rows.push(row);
        if self.tokens >= TOKENS_AT_A_TIME {
            self.tokens = 0;
            (self.hand)(Message::Rows(std::mem::take(&mut self.rows)))?;
        }
        Ok(Ok(()))
    }

    fn log(&mut self, line: Line) -> anyhow::Result<()> {
        self.lines.push(line);
        if self.lines.len() >= LINES_AT_A_TIME {
            (self.hand)(Message::Lines(std::mem::take(&mut self.lines)))?;
        }
        Ok(())
    }

    fn finish(self, report: Report) -> anyhow::Result<()> {
        (self.hand)(Message::Rows(self.rows))?;
        (self.hand)(Message::Lines(self.lines))?;
        (self.hand)(Message::Done(Box::new(report)))
    }
}

/// Tells the progress bar what is read.
struct Counted<'p, R> {
    input: R,
    progress: &'p Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(octets)?;
        self.progress.inc(n as u64);
        Ok(n)
    }
}
