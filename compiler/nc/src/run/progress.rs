//! A progress bar for runs that take long, on terminals only.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shows a bar while it lives, from one second on.
pub struct Progress {
    /// Ticks that are done.
    pub done: Arc<AtomicU64>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to watch a run of `total` ticks (over all samples). Without `wanted` or a terminal nothing is shown.
    pub fn start(total: u64, wanted: bool) -> Progress {
        let done = Arc::new(AtomicU64::new(0));
        if !wanted || !std::io::stderr().is_terminal() {
            return Progress { done, stop: None, thread: None };
        }
        let (stop, stopped) = channel();
        let counter = done.clone();
        // Without a thread there is no bar, and nothing else is lost.
        let thread = std::thread::Builder::new().name("nc-progress".to_owned()).spawn(move || {
            if stopped.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new(total);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40} {percent:>3} %  {human_pos} of {human_len} ticks  {eta} left")
            {
                bar.set_style(style);
            }
            loop {
                bar.set_position(counter.load(Ordering::Relaxed));
                if stopped.recv_timeout(Duration::from_millis(100)) != Err(RecvTimeoutError::Timeout) {
                    return bar.finish_and_clear();
                }
            }
        });
        Progress { done, stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread ends when the channel closes; what it drew is gone either way.
            let _ = thread.join();
        }
    }
}
