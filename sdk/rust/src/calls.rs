//! The calls in flight, and how they come to an end when the plugin stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tonic::Status;
use tonic::metadata::MetadataValue;

/// The trailer that tells the host that a call was not begun: it may make it again, on the next process.
const NOT_TAKEN: &str = "agenthost-not-taken";

/// How the plugin ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Ending {
    #[default]
    NotYet,
    /// No call is under way any more.
    Drained,
    /// Calls still are, and get no more time.
    CutOff,
}

#[derive(Default)]
pub(crate) struct Calls {
    in_flight: AtomicUsize,
    stopping: AtomicBool,
    idle: Notify,
}

/// A call that is under way, until it is dropped.
pub(crate) struct Call(Arc<Calls>);

impl Calls {
    pub fn begin(self: &Arc<Self>) -> Result<Call, Status> {
        // Counted before it is checked, so that `drain` misses none.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let call = Call(self.clone());
        if !self.stopping.load(Ordering::SeqCst) {
            return Ok(call);
        }
        let mut status = Status::unavailable("the plugin is stopping and has not begun this call");
        status.metadata_mut().insert(NOT_TAKEN, MetadataValue::from_static("1"));
        Err(status)
    }

    /// Refuses new calls and waits until none is under way.
    pub async fn drain(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        loop {
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
