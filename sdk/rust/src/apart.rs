//! Keeps what authors write apart from what serves: each agent has a runtime of its own, and no step of its calls is made on a thread
//! that serves. So an agent may block. What it holds up are its own threads: the host is answered, other agents work, the drain ends.

use std::future::Future;
use std::panic;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A runtime for one agent, made when it is called first. Its workers drive what the agent's calls wait for, and what the agent spawns;
/// the calls themselves are made on threads beside them, of which there are as many as there are calls that block.
#[derive(Default)]
pub(crate) struct Apart {
    runtime: OnceLock<Runtime>,
}

impl Apart {
    fn handle(&self, name: &str) -> Handle {
        let runtime = self.runtime.get_or_init(|| {
            // The kernel shows 15 bytes of it.
            Builder::new_multi_thread().enable_all().thread_name(name).build().expect("threads for an agent")
        });
        runtime.handle().clone()
    }

    /// Makes a call: the result is a future for the threads that serve. Dropped, it drops the call, on a thread of the agent's.
    pub fn call<F>(&self, name: &str, call: F) -> Call<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Call { handle: self.handle(name), woken: Arc::new(Woken::default()), step: Step::Ready(Box::pin(call)) }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // a thread that is blocked for ever is not waited for
        }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Step<T> {
    /// To be polled when it is woken.
    Ready(Boxed<T>),
    /// Being polled, on a thread of the agent's.
    Polled(JoinHandle<Result<T, Boxed<T>>>),
    Over,
}

/// A call of an agent's method.
pub(crate) struct Call<T: Send + 'static> {
    handle: Handle,
    woken: Arc<Woken>,
    step: Step<T>,
}

impl<T: Send + 'static> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.woken.serves(context.waker());
        loop {
            match std::mem::replace(&mut self.step, Step::Over) {
                Step::Ready(call) if !self.woken.take() => {
                    self.step = Step::Ready(call);
                    return Poll::Pending;
                }
                Step::Ready(mut call) => {
                    let waker = Waker::from(self.woken.clone());
                    self.step = Step::Polled(self.handle.spawn_blocking(move || {
                        match call.as_mut().poll(&mut Context::from_waker(&waker)) {
                            Poll::Ready(value) => Ok(value),
                            Poll::Pending => Err(call),
                        }
                    }));
                }
                Step::Polled(mut thread) => match Pin::new(&mut thread).poll(context) {
                    Poll::Pending => {
                        self.step = Step::Polled(thread);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Ok(value))) => return Poll::Ready(value),
                    Poll::Ready(Ok(Err(call))) => self.step = Step::Ready(call),
                    Poll::Ready(Err(error)) => match error.try_into_panic() {
                        Ok(panic) => panic::resume_unwind(panic),
                        Err(_) => panic!("called after the plugin's end"),
                    },
                },
                Step::Over => panic!("polled after its end"),
            }
        }
    }
}

impl<T: Send + 'static> Drop for Call<T> {
    fn drop(&mut self) {
        // What it holds may block when it is dropped.
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Ready(call) => drop(self.handle.spawn_blocking(move || drop(call))),
            Step::Polled(thread) => drop(self.handle.spawn(async move { drop(thread.await) })),
            Step::Over => {}
        }
    }
}

/// Wakes whoever awaits a call, and remembers it, since the call may be woken while it is polled.
struct Woken {
    woken: AtomicBool,
    serving: Mutex<Option<Waker>>,
}

impl Default for Woken {
    /// To be polled once.
    fn default() -> Self {
        Woken { woken: AtomicBool::new(true), serving: Mutex::default() }
    }
}

impl Woken {
    fn serves(&self, waker: &Waker) {
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(serving) = serving {
            serving.wake();
        }
    }
}
