//! Captures read in parallel, with their results in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use clikit::Progress;
use flowtrack::{EndedCapture, Flow};

use crate::capture::{self, ConversationBatch, ReadOutcome};
use crate::counts::TaskReport;
use crate::flow_log::FlowLogEntry;
use crate::judge::{ConversationJudge, Wanted};
use crate::options::ReadOptions;
use crate::rows::{ConversationEncoder, EncodedFlow};
use crate::task::{CaptureFile, CaptureTask};

/// Result of a task, in parts: rows, entries of the flow log and ends of captures, then the report.
pub(crate) enum Message {
    /// Rows of the dataset.
    Rows(Vec<EncodedFlow>),
    /// Nothing else is there yet: what was sent is to reach the output.
    Pause,
    /// Entries of the flow log.
    LogEntries(Vec<FlowLogEntry>),
    /// End of a capture, and the change of its file since it was found.
    Ended(Box<EndedCapture>, Option<String>),
    /// Report, the last message of a task.
    Report(Box<TaskReport>),
}

/// Number of tokens at which rows are sent.
const TOKENS_PER_MESSAGE: usize = 1 << 16;
/// Number of flow log entries at which they are sent.
const ENTRIES_PER_MESSAGE: usize = 256;
/// Messages of one task that may wait for the writer.
const MESSAGES_WAITING: usize = 8;

/// Reads all captures with `jobs` threads, and calls `on_message` with their messages, task after
/// task in the order of `tasks`.
///
/// # Errors
/// The first error of `on_message`. A capture that cannot be read is no error here: its end says
/// so.
pub(crate) fn read_all(
    tasks: &[CaptureTask],
    jobs: usize,
    options: &ReadOptions,
    progress: &Progress,
    mut on_message: impl FnMut(&CaptureTask, Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if jobs == 1 {
        return tasks.iter().try_for_each(|task| {
            read_one(task, Threads::One, options, progress, &mut |m| on_message(task, m))
        });
    }
    if let [task] = tasks {
        return read_one(task, Threads::Two, options, progress, &mut |m| on_message(task, m));
    }
    type Slot = (SyncSender<anyhow::Result<Message>>, Receiver<anyhow::Result<Message>>);
    let (senders, receivers): (Vec<_>, Vec<_>) = tasks
        .iter()
        .map(|_| -> Slot { sync_channel(MESSAGES_WAITING) })
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
                        // A writer that has stopped reports its own error.
                        let _ = sender.send(Err(error));
                    }
                }
            });
        }
        let written = tasks.iter().zip(receivers).try_for_each(|(task, receiver)| {
            receiver.into_iter().try_for_each(|message| on_message(task, message?))
        });
        if written.is_err() {
            next.store(tasks.len(), Ordering::Relaxed);
        }
        written
    })
}

/// Number of threads for one task.
#[derive(Clone, Copy)]
enum Threads {
    /// One thread does everything.
    One,
    /// One thread reads and tracks, the other one encodes.
    Two,
}

/// Reads the captures of one task.
fn read_one(
    task: &CaptureTask,
    threads: Threads,
    options: &ReadOptions,
    progress: &Progress,
    send: &mut dyn FnMut(Message) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let encoder = ConversationEncoder::new(options);
    let sender =
        MessageSender { task, encoder, rows: Vec::new(), tokens: 0, log_entries: Vec::new(), send };
    let judge = ConversationJudge::new(task, options);
    let mut processor = BatchProcessor { judge, sender };
    let read = match threads {
        Threads::One => read_in_one_thread(task, options, progress, &mut processor),
        Threads::Two => read_in_two_threads(task, options, progress, &mut processor),
    }?;
    processor.finish(read)
}

/// Judge and encoder of batches.
struct BatchProcessor<'t> {
    judge: ConversationJudge<'t>,
    sender: MessageSender<'t>,
}

impl BatchProcessor<'_> {
    /// Judges and encodes a batch, and returns its flows, for their buffers.
    fn process(&mut self, batch: ConversationBatch) -> anyhow::Result<Vec<Flow>> {
        for one in &batch.finished {
            self.judge.judge(one, &mut |wanted| self.sender.encode(wanted))?;
        }
        batch.forgotten.into_iter().for_each(|summary| self.judge.settle(summary));
        batch.ended.into_iter().try_for_each(|ended| self.sender.end(ended))?;
        self.send_log_entries()?;
        Ok(batch.finished.into_iter().filter_map(|one| one.flow).collect())
    }

    /// Sends the entries of the flow log that wait for nothing any more.
    fn send_log_entries(&mut self) -> anyhow::Result<()> {
        while let Some(entry) = self.judge.next_log_entry() {
            self.sender.push_log_entry(entry)?;
        }
        Ok(())
    }

    /// Settles the conversations that the tracker still remembers, and sends the report.
    fn finish(mut self, read: ReadOutcome) -> anyhow::Result<()> {
        for summary in read.tracker.summaries() {
            self.judge.settle(summary);
            self.send_log_entries()?;
        }
        self.sender.finish(self.judge.into_report(read))
    }
}

fn read_in_one_thread(
    task: &CaptureTask,
    options: &ReadOptions,
    progress: &Progress,
    processor: &mut BatchProcessor<'_>,
) -> anyhow::Result<ReadOutcome> {
    capture::read(task.read(progress), options, &mut |tracker, batch| {
        processor.process(batch)?.into_iter().for_each(|flow| tracker.recycle(flow));
        if options.live { processor.sender.pause() } else { Ok(()) }
    })
}

/// Batches that may wait for the judge.
const BATCHES_WAITING: usize = 8;

fn read_in_two_threads(
    task: &CaptureTask,
    options: &ReadOptions,
    progress: &Progress,
    processor: &mut BatchProcessor<'_>,
) -> anyhow::Result<ReadOutcome> {
    let (sender, receiver) = sync_channel::<ConversationBatch>(BATCHES_WAITING);
    let (back, returned) = channel::<Vec<Flow>>();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            capture::read(task.read(progress), options, &mut |tracker, batch| {
                returned.try_iter().flatten().for_each(|flow| tracker.recycle(flow));
                sender.send(batch).map_err(|_| anyhow::anyhow!("the encoder has stopped"))
            })
        });
        let processed = process_all(receiver, &back, options, processor);
        let read = reading.join().map_err(|_| anyhow::anyhow!("the reader failed"));
        processed?;
        read?
    })
}

/// Processes batches until there are no more. Behind an error the receiver is gone, so that the
/// reader does not wait for room in the queue.
fn process_all(
    batches: Receiver<ConversationBatch>,
    back: &Sender<Vec<Flow>>,
    options: &ReadOptions,
    processor: &mut BatchProcessor<'_>,
) -> anyhow::Result<()> {
    let mut next = batches.recv().ok();
    while let Some(batch) = next {
        // A reader that is done needs no buffers any more.
        let _ = back.send(processor.process(batch)?);
        next = batches.try_recv().ok();
        if next.is_none() {
            if options.live {
                processor.sender.pause()?;
            }
            next = batches.recv().ok();
        }
    }
    Ok(())
}

/// Encoder that collects rows and log entries into messages, and sends those.
struct MessageSender<'r> {
    task: &'r CaptureTask,
    encoder: ConversationEncoder<'r>,
    rows: Vec<EncodedFlow>,
    /// Number of tokens in `rows`.
    tokens: usize,
    log_entries: Vec<FlowLogEntry>,
    send: &'r mut dyn FnMut(Message) -> anyhow::Result<()>,
}

impl MessageSender<'_> {
    /// Encodes a conversation as a row. The inner error is the reason why that is not possible.
    fn encode(&mut self, wanted: &Wanted<'_>) -> anyhow::Result<Result<(), String>> {
        let row = match self.encoder.encode(wanted, self.task) {
            Ok(row) => row,
            Err(reason) => return Ok(Err(reason)),
        };
        self.tokens += row.row.tokens.len();
        self.rows.push(row);
        if self.tokens >= TOKENS_PER_MESSAGE {
            self.tokens = 0;
            (self.send)(Message::Rows(std::mem::take(&mut self.rows)))?;
        }
        Ok(Ok(()))
    }

    /// Sends the rows so far, to reach the output before later ones are there.
    fn pause(&mut self) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.tokens = 0;
        (self.send)(Message::Rows(std::mem::take(&mut self.rows)))?;
        (self.send)(Message::Pause)
    }

    /// Adds an entry of the flow log.
    fn push_log_entry(&mut self, entry: FlowLogEntry) -> anyhow::Result<()> {
        self.log_entries.push(entry);
        if self.log_entries.len() >= ENTRIES_PER_MESSAGE {
            (self.send)(Message::LogEntries(std::mem::take(&mut self.log_entries)))?;
        }
        Ok(())
    }

    /// Sends the end of a capture.
    fn end(&mut self, ended: EndedCapture) -> anyhow::Result<()> {
        let change = self.task.files.get(ended.capture).and_then(CaptureFile::change);
        (self.send)(Message::Ended(Box::new(ended), change))
    }

    /// Sends everything that is left, and the report.
    fn finish(self, report: TaskReport) -> anyhow::Result<()> {
        (self.send)(Message::Rows(self.rows))?;
        (self.send)(Message::LogEntries(self.log_entries))?;
        (self.send)(Message::Report(Box::new(report)))
    }
}
