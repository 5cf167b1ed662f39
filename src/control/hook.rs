//! Services that are asked by HTTP whether a client may come in. What they do not say clearly, and in time, is a no.

use crate::access::{Desk, Hook, HttpSettings, Job, Wrong};
use crate::auth::Admitted;
use crate::auth::token::granted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Of an answer. One with more in it is none.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

type Connections = Client<HttpConnector, Full<Bytes>>;

/// What a service is told.
#[derive(Serialize)]
struct Question<'a> {
    username: &'a str,
    /// One that is no text is told in Base64 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<String>,
    client_id: &'a str,
    address: Option<IpAddr>,
    listener: &'a str,
}

/// What it answers. What else is in the answer means nothing.
#[derive(Deserialize)]
struct Answer {
    result: Verdict,
    expires: Option<u64>,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Deny,
    Ignore,
}

/// Asks whatever services are to be asked, until the thread ends.
pub(super) async fn serve(mut jobs: mpsc::Receiver<Job>, desk: Desk) {
    let connections = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build_http();
    while let Some(job) = jobs.recv().await {
        let Some(hook) = job.policy.hook(job.from).cloned() else { continue };
        // The queue before this thread is bounded, and so is what is under way: one waits for the other.
        let Ok(permit) = Arc::clone(&hook.permits).acquire_owned().await else { continue };
        if job.is_idle() {
            continue;
        }
        let (connections, desk) = (connections.clone(), desk.clone());
        spawn_local(async move {
            decide(job, &hook, &connections, &desk).await;
            drop(permit);
        });
    }
}

/// Does what a service says.
async fn decide(mut job: Job, hook: &Hook, connections: &Connections, desk: &Desk) {
    let HttpSettings { url, remembered, timeout: span, .. } = &hook.settings;
    let answer = timeout(Duration::from_millis(span.0), ask(&job, url, connections)).await;
    let silent = |why: String| Wrong::Silent { url: url.clone(), why: why.into() };
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} milliseconds", span.0)));
    match answer {
        Ok(Answer { result: Verdict::Ignore, .. }) => {
            job.from += 1;
            if let Err(job) = desk.submit(job) {
                job.answer(Err(Wrong::Full));
            }
        }
        Ok(Answer { expires: Some(at), .. }) if at <= job.now => job.answer(Err(Wrong::Hook(url.clone()))),
        Ok(Answer { result: Verdict::Deny, .. }) => job.answer(Err(Wrong::Hook(url.clone()))),
        Ok(answer) => {
            let admitted = admitted(&job.user, &answer).map_err(silent);
            job.answer(admitted.map(|admitted| (admitted, *remembered)));
        }
        Err(why) => job.answer(Err(silent(why))),
    }
}

fn admitted(user: &str, answer: &Answer) -> Result<Admitted, String> {
    let granted = granted(answer.publish.as_deref(), answer.subscribe.as_deref());
    let granted = granted.map_err(|bad| format!("its answer: {bad}"))?;
    Ok(Admitted { expires: answer.expires, granted, ..Admitted::named(user) })
}

/// Asks a service, and reads what it answers.
async fn ask(job: &Job, url: &str, connections: &Connections) -> Result<Answer, String> {
    let password = str::from_utf8(&job.password).ok();
    let question = Question {
        username: &job.user,
        password,
        password_base64: password.is_none().then(|| BASE64.encode(&job.password)),
        client_id: &job.client_id,
        address: job.address,
        listener: &job.listener,
    };
    let body = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
    let request = Request::post(url).header(CONTENT_TYPE, "application/json").body(Full::from(body));
    let request = request.map_err(|error| error.to_string())?;
    let response = connections.request(request).await.map_err(|error| told(&error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("its status is {}, and not 200", response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("its answer: {error}"))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("its answer: {error}"))
}

/// An error with what is behind it, which is where the reason stands.
fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        told = format!("{told}: {error}");
        source = error.source();
    }
    told
}
