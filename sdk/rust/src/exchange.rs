//! Calls of asynchronous agents, many in one message of one stream. Each is made as one of its own is, but for gRPC's part in it.

use std::collections::HashMap;
use std::future;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::Stream;
use prost::Message;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

use crate::apart::Task;
use crate::calls::Ending;
use crate::contract::agenthost::plugin::v1::{Answer, Answers, Call, Calls, Header, call_service_server::CallService};
use crate::service::{Calling, Made, Said, Services};

const CREATE_TASK: &str = "/flyteidl.service.AsyncAgentService/CreateTask";
const GET_TASK: &str = "/flyteidl.service.AsyncAgentService/GetTask";
const DELETE_TASK: &str = "/flyteidl.service.AsyncAgentService/DeleteTask";
const GET_TASK_METRICS: &str = "/flyteidl.service.AsyncAgentService/GetTaskMetrics";
const METHODS: [&str; 4] = [CREATE_TASK, GET_TASK, DELETE_TASK, GET_TASK_METRICS];

/// How many bytes the answers of one message have, but for a single larger one.
const MOST_ANSWERS: usize = 256 << 10;

#[tonic::async_trait]
impl CallService for Services {
    type ExchangeStream = Sender;

    async fn exchange(&self, request: Request<Streaming<Calls>>) -> Result<Response<Sender>, Status> {
        let exchange = Arc::new(Exchange { services: self.clone(), state: Mutex::default() });
        let receiver = tokio::spawn(exchange.clone().receive(request.into_inner(), self.0.ending.subscribe()));
        let greeting = Answers { methods: METHODS.map(String::from).into(), ..Default::default() };
        Ok(Response::new(Sender {
            exchange,
            receiver: receiver.abort_handle(),
            greeting: Some(greeting),
            ended: false,
        }))
    }
}

/// A stream of calls.
struct Exchange {
    services: Services,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: HashMap<u64, UnderWay>,
    /// The answers that have not left, and how many bytes their messages have.
    ready: Vec<Answer>,
    size: usize,
    /// Wakes the sender, where it waits for answers.
    sender: Option<Waker>,
    /// The last call that was begun.
    last: u64,
    /// Whether the host sends no more calls.
    closed: bool,
    /// Whether nobody hears of answers any more.
    gone: bool,
    /// What went wrong with the stream.
    failure: Option<Status>,
    ending: Ending,
}

/// A call that has no answer yet.
struct UnderWay {
    task: Task,
    until: Option<Instant>,
}

impl Exchange {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the calls that come, and gives up those that are cancelled, or out of time.
    async fn receive(self: Arc<Self>, mut calls: Streaming<Calls>, mut ending: watch::Receiver<Ending>) {
        let mut end = pin!(async {
            if let Ok(ending) = ending.wait_for(|ending| *ending != Ending::NotYet).await {
                self.change(|state| state.ending = *ending);
            }
            future::pending::<()>().await;
        });
        // One timer for all calls: hardly any runs out of time.
        let (mut expiry, mut expires) = (pin!(tokio::time::sleep(Duration::ZERO)), None);
        let mut closed = false;
        loop {
            let soonest = tokio::select! {
                biased;
                () = &mut end => return,
                () = &mut expiry, if expires.is_some() => {
                    expires = None;
                    self.expire()
                }
                message = calls.message(), if !closed => match message {
                    Ok(Some(Calls { calls, canceled })) => {
                        let soonest = calls.into_iter().filter_map(|call| self.begin(call)).min();
                        canceled.into_iter().for_each(|id| self.cancel(id));
                        soonest
                    }
                    Ok(None) => {
                        closed = true;
                        self.change(|state| state.closed = true);
                        None
                    }
                    Err(status) => {
                        self.change(|state| state.failure = Some(status));
                        return self.leave();
                    }
                },
            };
            if let Some(at) = soonest
                && expires.is_none_or(|expires| at < expires)
            {
                expires = Some(at);
                expiry.as_mut().reset(at.into());
            }
        }
    }

    /// Begins a call, and returns when its time is over.
    fn begin(self: &Arc<Self>, call: Call) -> Option<Instant> {
        let timeout = (call.timeout > 0).then(|| Duration::from_micros(call.timeout));
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let task = match self.make(&call, until) {
            Ok(task) => task,
            Err(status) => {
                self.change(|state| {
                    if state.begins(call.id) {
                        state.answer(failed(call.id, &status));
                    }
                });
                return None;
            }
        };
        let mut state = self.state();
        let begins = state.begins(call.id);
        let former =
            if begins { state.under_way.insert(call.id, UnderWay { task: task.clone(), until }) } else { None };
        drop(state);
        if !begins {
            task.give_up();
        }
        task.begin();
        if let Some(former) = former {
            former.task.give_up(); // the host has used an id twice
        }
        until
    }

    /// Makes a call, up to its end on the agent's threads.
    fn make(self: &Arc<Self>, call: &Call, until: Option<Instant>) -> Result<Task, Status> {
        let value = |name: &str| call.headers.iter().find(|header| header.name == name).map(|header| &*header.value);
        let said = Said::new(value, until);
        match &*call.method {
            CREATE_TASK => Ok(self.task(call, self.services.create(said, request(call)?)?)),
            GET_TASK => Ok(self.task(call, self.services.get(said, request(call)?)?)),
            DELETE_TASK => Ok(self.task(call, self.services.delete(said, request(call)?)?)),
            GET_TASK_METRICS => Ok(self.task(call, self.services.measure(said, request(call)?)?)),
            other => Err(Status::unimplemented(format!("the stream of calls does not take {other}"))),
        }
    }

    fn task<T: Message>(self: &Arc<Self>, call: &Call, made: Made<'_, impl Calling<T>>) -> Task {
        let due = Due { exchange: self.clone(), id: call.id, most: call.max_answer, answered: false };
        let Made { agent, call } = made;
        // It is answered where it ends: a thread that serves would have to be woken for it.
        agent.apart.task(&agent.name, async move { due.answer(call.await) })
    }

    /// Gives up a call that nobody waits for any more.
    fn cancel(&self, id: u64) {
        let canceled = self.change(|state| state.under_way.remove(&id));
        if let Some(canceled) = canceled {
            canceled.task.give_up();
        }
    }

    /// Gives up the calls whose time is over, and returns when the next one's is.
    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let over = |call: &mut UnderWay| call.until.is_some_and(|until| until <= now);
        let (expired, soonest) = self.change(|state| {
            let expired: Vec<_> = state.under_way.extract_if(|_, call| over(call)).collect();
            // The status that the host has of a call by itself, by its own clock.
            for (id, _) in &expired {
                state.answer(failed(*id, &Status::deadline_exceeded("Timeout expired")));
            }
            (expired, state.under_way.values().filter_map(|call| call.until).min())
        });
        expired.iter().for_each(|(_, call)| call.task.give_up());
        soonest
    }

    /// Gives up all calls: nobody hears of their answers any more.
    fn leave(&self) {
        let left = self.change(|state| {
            state.gone = true;
            mem::take(&mut state.under_way)
        });
        left.values().for_each(|call| call.task.give_up());
    }

    /// Changes the state, and wakes the sender if it waits: once for all answers that come before it is awake.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
        changed
    }
}

impl State {
    /// Whether a call is begun: none is once the end has come.
    fn begins(&mut self, id: u64) -> bool {
        let begins = !self.gone && self.ending == Ending::NotYet;
        if begins {
            self.last = id;
        }
        begins
    }

    fn answer(&mut self, answer: Answer) {
        self.size += answer.message.len();
        self.ready.push(answer);
    }

    /// The next message's answers, of which there are some.
    fn next(&mut self) -> Vec<Answer> {
        if self.size <= MOST_ANSWERS {
            self.size = 0;
            return mem::take(&mut self.ready);
        }
        let (mut count, mut size) = (0, 0);
        for answer in &self.ready {
            if count > 0 && size + answer.message.len() > MOST_ANSWERS {
                break;
            }
            size += answer.message.len();
            count += 1;
        }
        self.size -= size;
        self.ready.drain(..count).collect()
    }

    /// Whether no answer comes any more.
    fn over(&self) -> bool {
        let none_comes = self.closed || self.ending == Ending::Drained;
        self.gone || self.ending == Ending::CutOff || none_comes && self.under_way.is_empty()
    }
}

/// The answer that a call is owed.
struct Due {
    exchange: Arc<Exchange>,
    id: u64,
    most: u64,
    answered: bool,
}

impl Due {
    fn answer<T: Message>(mut self, outcome: Result<T, Status>) {
        self.answer_with(match outcome {
            Err(status) => failed(self.id, &status),
            Ok(message) => match message.encoded_len() as u64 {
                size if self.most > 0 && size > self.most => {
                    Answer { id: self.id, oversize: size, ..Default::default() }
                }
                _ => Answer { id: self.id, message: message.encode_to_vec(), ..Default::default() },
            },
        });
    }

    fn answer_with(&mut self, answer: Answer) {
        self.answered = true;
        // What it was under way is dropped without the lock.
        let _under_way = self.exchange.change(|state| {
            let under_way = state.under_way.remove(&self.id)?; // none: it was given up meanwhile
            state.answer(answer);
            Some(under_way)
        });
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if !self.answered {
            self.answer_with(failed(self.id, &Status::internal("the call ended without an answer")));
        }
    }
}

/// The sending half of a stream.
pub(crate) struct Sender {
    exchange: Arc<Exchange>,
    receiver: AbortHandle,
    greeting: Option<Answers>,
    ended: bool,
}

impl Stream for Sender {
    type Item = Result<Answers, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(Ok(greeting)));
        }
        let mut state = self.exchange.state();
        if self.ended {
            return Poll::Ready(None);
        }
        if !state.ready.is_empty() {
            return Poll::Ready(Some(Ok(Answers { answers: state.next(), ..Default::default() })));
        }
        if !state.over() {
            state.sender = Some(context.waker().clone());
            return Poll::Pending;
        }
        let end = match state.failure.take() {
            Some(failure) => Some(Err(failure)),
            None if state.gone || state.ending == Ending::NotYet => None,
            None => Some(Ok(Answers { last: Some(state.last), ..Default::default() })),
        };
        drop(state);
        self.ended = true;
        Poll::Ready(end)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.receiver.abort();
        self.exchange.leave();
    }
}

/// The method's request.
fn request<T: Message + Default>(call: &Call) -> Result<T, Status> {
    T::decode(&*call.request).map_err(|error| Status::internal(error.to_string())) // as tonic has it
}

/// A google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn failed(id: u64, status: &Status) -> Answer {
    let failure = Failure { code: status.code().into(), message: status.message().into() };
    Answer { id, status: failure.encode_to_vec(), trailers: trailers(status.metadata()), ..Default::default() }
}

fn trailers(metadata: &MetadataMap) -> Vec<Header> {
    let header = |name: &str, value: &[u8]| Header { name: name.into(), value: value.into() };
    let headers = metadata.iter().map(|entry| match entry {
        KeyAndValueRef::Ascii(name, value) => header(name.as_str(), value.as_encoded_bytes()),
        KeyAndValueRef::Binary(name, value) => header(name.as_str(), &value.to_bytes().unwrap_or_default()),
    });
    headers.collect()
}
