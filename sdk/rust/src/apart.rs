//! Keeps what authors write apart from what serves: each agent has a runtime of its own, and no step of its calls is made on a thread
//! that serves. So an agent may block. What it holds up are its own threads: the host is answered, other agents work, the drain ends.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// How many calls of one agent may block at once; those after them wait.
const MOST_THREADS: usize = 512;
/// How long a thread waits for something to do.
const IDLE: Duration = Duration::from_secs(10);

/// A runtime for one agent, made when it is called first. Its workers drive what the agent's calls wait for, and what the agent spawns;
/// the calls themselves are made on threads beside them, of which there are as many as there are calls that block.
#[derive(Default)]
pub(crate) struct Apart {
    made: OnceLock<Made>,
}

struct Made {
    runtime: Runtime,
    threads: Arc<Threads>,
}

impl Apart {
    /// Gets a call ready, which begins with [`Task::begin`].
    pub fn task(&self, name: &str, call: impl Future<Output = ()> + Send + 'static) -> Task {
        let made = self.made.get_or_init(|| {
            // The kernel shows 15 bytes of it.
            let runtime = Builder::new_multi_thread().enable_all().thread_name(name).build();
            let runtime = runtime.expect("threads for an agent");
            let threads = Threads {
                name: name.into(),
                runtime: runtime.handle().clone(),
                queue: Mutex::default(),
                work: Condvar::new(),
            };
            Made { runtime, threads: Arc::new(threads) }
        });
        Task(Arc::new(Steps { threads: made.threads.clone(), state: Mutex::new(State::Queued(Box::pin(call))) }))
    }

    /// Makes a call: the result is a future for the threads that serve. Dropped, it drops the call, on a thread of the agent's.
    pub fn call<F>(&self, name: &str, call: F) -> Call<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let task = self.task(name, async move { drop(done.send(call.await)) });
        task.begin();
        Call { task, outcome }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(Made { runtime, threads }) = self.made.take() {
            threads.close();
            runtime.shutdown_background(); // a thread that is blocked for ever is not waited for
        }
    }
}

/// A call of an agent's method.
pub(crate) struct Call<T> {
    task: Task,
    outcome: oneshot::Receiver<T>,
}

impl<T> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // What is lost is the outcome of a call after the plugin's end, or of one that panicked outside of the author's method.
        Pin::new(&mut self.outcome).poll(context).map(|outcome| outcome.expect("the call has an outcome"))
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        self.task.give_up();
    }
}

/// A call that makes its way by itself: woken, it goes to the agent's threads, and not by way of those that serve.
#[derive(Clone)]
pub(crate) struct Task(Arc<Steps>);

impl Task {
    /// Begins it. To be called once.
    pub fn begin(&self) {
        self.0.threads.push(self.0.clone());
    }

    /// Drops the call if it has not ended: on a thread of the agent's, since what it holds may block then.
    pub fn give_up(&self) {
        let mut state = self.0.state();
        match mem::replace(&mut *state, State::Over) {
            State::Waiting(call) => {
                *state = State::GivenUp(call);
                drop(state);
                self.begin();
            }
            State::Queued(call) => *state = State::GivenUp(call),
            State::Polled { woken, .. } => *state = State::Polled { woken, given_up: true },
            other => *state = other,
        }
    }
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

enum State {
    /// To be woken.
    Waiting(Boxed),
    /// In the queue, to be polled.
    Queued(Boxed),
    /// In the queue, to be dropped.
    GivenUp(Boxed),
    /// With one of the threads, and what has become of it meanwhile.
    Polled {
        woken: bool,
        given_up: bool,
    },
    Over,
}

struct Steps {
    threads: Arc<Threads>,
    state: Mutex<State>,
}

impl Steps {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is next for a call in the queue.
    fn step(self: Arc<Self>) {
        let mut state = self.state();
        let mut call = match mem::replace(&mut *state, State::Over) {
            State::Queued(call) => call,
            State::GivenUp(call) => {
                drop(state);
                return drop(call);
            }
            _ => return,
        };
        *state = State::Polled { woken: false, given_up: false };
        drop(state);
        let waker = Waker::from(self.clone());
        let poll = || call.as_mut().poll(&mut Context::from_waker(&waker));
        // The panic has been told by its hook.
        let pending = panic::catch_unwind(AssertUnwindSafe(poll)).is_ok_and(|poll| poll.is_pending());
        let mut state = self.state();
        match *state {
            State::Polled { woken: true, given_up: false } if pending => {
                *state = State::Queued(call);
                drop(state);
                self.threads.push(self.clone());
            }
            State::Polled { given_up: false, .. } if pending => *state = State::Waiting(call),
            _ => {
                *state = State::Over;
                drop(state);
                drop(call);
            }
        }
    }
}

impl Wake for Steps {
    fn wake(self: Arc<Self>) {
        let mut state = self.state();
        match mem::replace(&mut *state, State::Over) {
            State::Waiting(call) => {
                *state = State::Queued(call);
                drop(state);
                self.threads.clone().push(self);
            }
            State::Polled { given_up, .. } => *state = State::Polled { woken: true, given_up },
            other => *state = other,
        }
    }
}

/// The threads on which an agent's calls are made. There is always one on its way to a queue that is not empty, but only one: mostly the
/// thread that is at work has done with the next call before another one is awake, and where it is blocked, that one goes on.
struct Threads {
    name: String,
    runtime: Handle,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    steps: VecDeque<Arc<Steps>>,
    threads: usize,
    /// How many of them have nothing to do.
    idle: usize,
    /// Whether one is on its way to the queue.
    coming: bool,
    closed: bool,
}

impl Threads {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, step: Arc<Steps>) {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            return step.end();
        }
        queue.steps.push_back(step);
        self.call_one(queue);
    }

    /// Has a thread come, unless one does.
    fn call_one(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.coming || queue.steps.is_empty() {
            return;
        }
        if queue.idle > 0 {
            queue.coming = true;
            drop(queue);
            self.work.notify_one();
        } else if queue.threads < MOST_THREADS {
            let threads = self.clone();
            match thread::Builder::new().name(self.name.clone()).spawn(move || threads.work()) {
                Ok(_) => {
                    queue.threads += 1;
                    queue.coming = true;
                }
                Err(_) if queue.threads > 0 => {} // one of those that there are will come
                Err(error) => panic!("there is no thread for agent {}: {error}", self.name),
            }
        }
    }

    /// The life of a thread.
    fn work(self: Arc<Self>) {
        let _runtime = self.runtime.enter();
        let mut queue = self.queue();
        queue.coming = false;
        while !queue.closed {
            if let Some(step) = queue.steps.pop_front() {
                self.call_one(queue);
                let _ = panic::catch_unwind(AssertUnwindSafe(|| step.step())); // in what is dropped, and told by its hook
                queue = self.queue();
                continue;
            }
            queue.idle += 1;
            let (woken, waited) = self.work.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            queue.coming = false;
            if waited.timed_out() && queue.steps.is_empty() {
                break;
            }
        }
        queue.threads -= 1;
    }

    /// Ends the threads, as soon as they are not blocked, and the calls.
    fn close(&self) {
        let left = {
            let mut queue = self.queue();
            queue.closed = true;
            mem::take(&mut queue.steps)
        };
        self.work.notify_all();
        left.into_iter().for_each(|step| step.end());
    }
}

impl Steps {
    /// Ends a call that no thread takes any more.
    fn end(&self) {
        let call = mem::replace(&mut *self.state(), State::Over);
        drop(call);
    }
}
