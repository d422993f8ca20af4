//! What an agent's methods can ask of the call that they are made in.

use std::collections::HashMap;
use std::future::Future;

use tokio::sync::watch;

tokio::task_local! {
    static CONTEXT: Context;
}

/// What is known in a call.
pub(crate) struct Context {
    /// The headers by which it belongs to a trace.
    pub trace: HashMap<String, String>,
    /// Whether the process is being replaced.
    pub replaced: watch::Receiver<bool>,
}

/// Makes a call in its context.
pub(crate) async fn within<T>(context: Context, call: impl Future<Output = T>) -> T {
    CONTEXT.scope(context, call).await
}

/// The headers `traceparent`, `tracestate` and `baggage` of the call that this is asked in, for the calls to services that it makes: so they
/// belong to the trace of the task. Empty outside of an agent's methods, and in what they spawn.
pub fn trace_headers() -> HashMap<String, String> {
    CONTEXT.try_with(|context| context.trace.clone()).unwrap_or_default()
}

/// Ends when the process is being replaced by a newer one, or stops: what goes on behind the calls should come to an end, or to where the
/// newer process can go on. Calls that are under way are let end. It is asked for in one of an agent's methods, or in the function that takes
/// the configuration, and awaited in what that spawns:
///
/// ```
/// # fn look() {}
/// # async fn create() {
/// let replaced = agenthost::replaced();
/// tokio::spawn(async move {
///     tokio::pin!(replaced);
///     loop {
///         tokio::select! {
///             () = &mut replaced => return,
///             () = tokio::time::sleep(std::time::Duration::from_secs(10)) => look(),
///         }
///     }
/// });
/// # }
/// ```
///
/// Asked for elsewhere, it never ends.
pub fn replaced() -> impl Future<Output = ()> + Send + 'static {
    let replaced = CONTEXT.try_with(|context| context.replaced.clone()).ok();
    async move {
        if let Some(mut replaced) = replaced
            && replaced.wait_for(|replaced| *replaced).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}
