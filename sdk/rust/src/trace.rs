//! Which trace a call belongs to, by W3C Trace Context: enough for lines of the log. Spans are OpenTelemetry's.

use std::collections::HashMap;

use tracing::Span;

/// The headers of W3C Trace Context and Baggage.
const HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// What an author has done with each call's span.
pub(crate) type OnCall = Box<dyn Fn(&Span, &HashMap<String, String>) + Send + Sync>;

/// What a call's headers say of its trace.
pub(crate) fn headers(value: impl Fn(&str) -> Option<String>) -> HashMap<String, String> {
    HEADERS.iter().filter_map(|name| Some((name.to_string(), value(name)?))).collect()
}

/// The span of a call. Lines within it have its fields.
pub(crate) fn span(method: &'static str, headers: &HashMap<String, String>, on_call: Option<&OnCall>) -> Span {
    // An error's level, so that no filter of lines leaves it out.
    let span = match headers.get("traceparent").and_then(|header| ids(header)) {
        Some((trace_id, span_id)) => tracing::error_span!("call", method, trace_id, span_id),
        None => tracing::error_span!("call", method),
    };
    if let Some(on_call) = on_call {
        on_call(&span, headers);
    }
    span
}

/// The trace, and the span in it that the call was made in.
fn ids(traceparent: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return None };
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b"0123456789abcdef".contains(&b));
    let some = |text: &str| text.bytes().any(|b| b != b'0');
    (version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && some(trace) && some(span))
        .then_some((trace, span))
}

#[cfg(test)]
mod tests {
    use super::ids;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_traceparent_names_a_trace_and_a_span() {
        assert_eq!(ids(&format!("00-{TRACE}-00f067aa0ba902b7-01")), Some((TRACE, "00f067aa0ba902b7")));
        for wrong in [
            String::new(),
            "00-x-y-01".into(),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
        ] {
            assert_eq!(ids(&wrong), None, "{wrong}");
        }
    }
}
