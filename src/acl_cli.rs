//! `pantala acl`: what an ACL file says, and which line says so.

use crate::Failure;
use crate::cli::{AclAction, AclClient, AclQuestion};
use pantala::access;
use pantala::auth::acl::{Acl, Action, Decision, Reason, Subject, Who};
use pantala::topic::{BadTopic, TopicFilter, TopicName};
use pantala::types::HashSeed;
use std::fmt::Display;

/// Does it.
///
/// # Errors
/// What is wrong with the file, line by line, or with the question; that the answer is no.
pub(crate) fn run(action: &AclAction) -> Result<(), Failure> {
    let AclAction::Test { file, client, question } = action;
    let bytes = access::read(file).map_err(|error| Failure::misconfigured(error.to_string()))?;
    // The file is the operator's own: nobody prepares it against a seed.
    let acl = Acl::parse(&bytes, 0, HashSeed(0)).map_err(|mistakes| crate::in_file(file, &mistakes))?;
    let decision = decide(&acl, client, question)?;
    let answer = explained(&decision, &String::from_utf8_lossy(&bytes), client);
    crate::print(&answer)?;
    if decision.allowed { Ok(()) } else { Err(Failure::denied()) }
}

fn decide(acl: &Acl, client: &AclClient, question: &AclQuestion) -> Result<Decision, Failure> {
    let wrong = |given: &str, why: &dyn Display| Failure::misconfigured(format!("pantala: {given:?}: {why}"));
    let subject = client
        .subject
        .as_deref()
        .map(|text| text.parse::<Subject>().map_err(|why| wrong(text, &format_args!("expected {why}"))));
    let subject = subject.transpose()?;
    let standing = acl.standing(&Who {
        user: client.user.as_deref(),
        client: &client.client,
        listener: &client.listener,
        subject: subject.as_ref(),
        granted: None,
    });
    let bad = |given: &str, why: BadTopic| wrong(given, &why);
    let of_name = |action, text: &str| {
        let name = TopicName::parse(text, u16::MAX).map_err(|why| bad(text, why))?;
        Ok(acl.decide(&standing, action, name))
    };
    match question {
        AclQuestion::Publish { topic } => of_name(Action::Publish, topic),
        AclQuestion::Receive { topic } => of_name(Action::Receive, topic),
        AclQuestion::Subscribe { filter } => {
            let filter = TopicFilter::parse(filter, u16::MAX).map_err(|why| bad(filter, why))?;
            Ok(acl.decide_subscribe(&standing, filter))
        }
    }
}

/// The answer, and the line that it comes from as it stands in the file.
fn explained(decision: &Decision, text: &str, client: &AclClient) -> String {
    let quoted = |line: u32| {
        let text = text.lines().nth(line as usize - 1).unwrap_or_default().trim();
        format!("line {line}: {text}")
    };
    let why = match decision.reason {
        Reason::Line(line) => quoted(line),
        Reason::NoLine => "no line allows it".to_owned(),
        Reason::UserName(line) => format!(
            "the user's name {:?} has +, # or / in it, so that it could choose what %u means; {}",
            client.user.as_deref().unwrap_or_default(),
            quoted(line)
        ),
        Reason::ClientId(line) => format!(
            "the client id {:?} has +, # or / in it, so that it could choose what %c means; {}",
            client.client,
            quoted(line)
        ),
        Reason::Token => "the client's token".to_owned(),
        Reason::Outdated => "the file has changed since".to_owned(),
    };
    format!("{}: {why}\n", if decision.allowed { "allowed" } else { "denied" })
}
