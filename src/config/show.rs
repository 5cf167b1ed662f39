//! Settings written as the TOML that would set them: what `pantala check` prints.

use super::keys::{BALANCE, EXCEEDED, OVERFLOW};
use super::raw::grouped;
use super::{Config, Durability, LogFormat, LogLevel, Process, Store};
use crate::sasl::Verifier;
use crate::types::{Features, Limits, Span};
use std::fmt::{self, Display, Formatter};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Taken apart in full, so that a new setting does not compile until it is shown.
        let Self { listeners, cores, store, limits, features, access, sys_interval, log, process } = self;
        for listener in listeners {
            writeln!(f, "{listener}")?;
        }
        writeln!(f, "[cores]")?;
        match &cores.list {
            Some(list) => writeln!(f, "list = \"{list}\"")?,
            None => writeln!(f, "list = \"all\"")?,
        }
        number_or(f, "shards", cores.shards.map(u64::from), "auto")?;
        show_store(f, store)?;
        show_limits(f, limits)?;
        show_features(f, features)?;
        super::access::show(f, access)?;
        writeln!(f, "\n[sys]")?;
        number(f, "interval_s", sys_interval.map_or(0, Span::as_secs))?;
        writeln!(f, "\n[log]")?;
        writeln!(f, "level = \"{}\"", word(&LogLevel::ALL, log.level))?;
        writeln!(f, "format = \"{}\"", word(&LogFormat::ALL, log.format))?;
        show_process(f, process)
    }
}

fn show_process(f: &mut Formatter<'_>, Process { user, group }: &Process) -> fmt::Result {
    if user.is_some() || group.is_some() {
        writeln!(f, "\n[process]")?;
    }
    for (key, value) in [("user", user), ("group", group)] {
        if let Some(value) = value {
            writeln!(f, "{key} = {value:?}")?;
        }
    }
    Ok(())
}

fn show_store(f: &mut Formatter<'_>, store: &Store) -> fmt::Result {
    // In full, as above.
    let Store { enabled, path, durability, bytes_max, reserve_bytes, segment_bytes, checkpoint_bytes } =
        store;
    writeln!(f, "\n[store]\nenabled = {enabled}")?;
    let path = path.as_ref().map_or_else(|| "auto".into(), |path| path.to_string_lossy());
    writeln!(f, "path = {}", quoted(&path))?;
    writeln!(f, "durability = \"{}\"", word(&Durability::ALL, *durability))?;
    number(f, "bytes_max", *bytes_max)?;
    number(f, "reserve_bytes", *reserve_bytes)?;
    number(f, "segment_bytes", *segment_bytes)?;
    number(f, "checkpoint_bytes", *checkpoint_bytes)?;
    writeln!(f)
}

fn show_limits(f: &mut Formatter<'_>, limits: &Limits) -> fmt::Result {
    // In full, as above.
    let &Limits {
        packet_bytes_max,
        connect_bytes_max,
        connect_timeout,
        connections_max,
        connections_per_address_max,
        connections_per_user_max,
        attempts_per_s,
        attempts_burst,
        penalty,
        publishes_per_s,
        publish_bytes_per_s,
        exceeded,
        topic_bytes_max,
        topic_levels_max,
        subscriptions_max,
        inflight_max,
        receive_max,
        queue_messages_max,
        queue_bytes_max,
        overflow,
        queue_memory_bytes,
        queue_qos0,
        queued_expiry,
        output_bytes_max,
        retained_messages_max,
        retained_bytes_max,
        session_expiry_max,
        session_expiry_default,
        sessions_max,
        keep_alive_max_s,
    } = limits;
    writeln!(f, "[session]")?;
    number_or(f, "expiry_max_s", session_expiry_max.map(Span::as_secs), "never")?;
    number_or(f, "expiry_default_s", session_expiry_default.map(Span::as_secs), "max")?;
    number(f, "keep_alive_max_s", keep_alive_max_s)?;
    number(f, "subscriptions_max", subscriptions_max)?;
    number(f, "inflight_max", inflight_max)?;
    number(f, "receive_max", receive_max)?;
    number(f, "queue_messages_max", queue_messages_max)?;
    number(f, "queue_bytes_max", queue_bytes_max)?;
    writeln!(f, "overflow = \"{}\"", word(&OVERFLOW, overflow))?;
    number(f, "queue_memory_bytes", queue_memory_bytes)?;
    writeln!(f, "queue_qos0 = {queue_qos0}")?;
    let queued_expiry_s = queued_expiry.map(Span::as_secs);
    number_or(f, "queued_message_expiry_default_s", queued_expiry_s, "never")?;
    writeln!(f, "\n[limits]")?;
    number(f, "packet_bytes_max", packet_bytes_max)?;
    number(f, "connect_bytes_max", connect_bytes_max)?;
    number(f, "connect_timeout_ms", connect_timeout.0)?;
    number(f, "connections_max", connections_max)?;
    let unlimited =
        |f: &mut Formatter<'_>, key, bound: Option<u32>| number_or(f, key, bound.map(u64::from), "unlimited");
    unlimited(f, "connections_per_address_max", connections_per_address_max)?;
    unlimited(f, "connections_per_user_max", connections_per_user_max)?;
    unlimited(f, "attempts_per_s", attempts_per_s)?;
    number(f, "attempts_burst", attempts_burst)?;
    number(f, "penalty_s", penalty.as_secs())?;
    unlimited(f, "publishes_per_s", publishes_per_s)?;
    unlimited(f, "publish_bytes_per_s", publish_bytes_per_s)?;
    writeln!(f, "publish_exceeded = \"{}\"", word(&EXCEEDED, exceeded))?;
    number(f, "topic_bytes_max", topic_bytes_max)?;
    number(f, "topic_levels_max", topic_levels_max)?;
    number(f, "output_bytes_max", output_bytes_max as u64)?;
    number(f, "sessions_max", sessions_max)?;
    number(f, "retained_messages_max", retained_messages_max)?;
    number(f, "retained_bytes_max", retained_bytes_max)
}

/// The lines that let a user log in.
pub fn user_table(name: &str, verifier: &Verifier) -> String {
    format!("[[user]]\nname = {}\nscram_sha_256 = \"{verifier}\"\n", quoted(name))
}

fn show_features(f: &mut Formatter<'_>, features: &Features) -> fmt::Result {
    // In full, as above.
    let Features {
        topic_alias_max,
        topic_alias_out_max,
        qos_max,
        retain,
        wildcard_subscriptions,
        subscription_ids,
        shared_subscriptions,
        share_balance,
        response_information,
        server_reference,
    } = features;
    writeln!(f, "\n[mqtt]")?;
    number(f, "topic_alias_max", *topic_alias_max)?;
    number(f, "topic_alias_out_max", *topic_alias_out_max)?;
    number(f, "qos_max", *qos_max as u8)?;
    writeln!(f, "retain = {retain}")?;
    writeln!(f, "wildcard_subscriptions = {wildcard_subscriptions}")?;
    writeln!(f, "subscription_ids = {subscription_ids}")?;
    writeln!(f, "shared_subscriptions = {shared_subscriptions}")?;
    writeln!(f, "share_balance = \"{}\"", word(&BALANCE, *share_balance))?;
    for (key, text) in
        [("response_information", response_information), ("server_reference", server_reference)]
    {
        if let Some(text) = text {
            writeln!(f, "{key} = {}", quoted(text))?;
        }
    }
    Ok(())
}

/// A text as TOML has it: a basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

pub(super) fn number(f: &mut Formatter<'_>, key: &str, number: impl Into<u64>) -> fmt::Result {
    writeln!(f, "{key} = {}", grouped(number.into()))
}

pub(super) fn number_or(f: &mut Formatter<'_>, key: &str, number: Option<u64>, word: &str) -> fmt::Result {
    match number {
        Some(number) => writeln!(f, "{key} = {}", grouped(number)),
        None => writeln!(f, "{key} = \"{word}\""),
    }
}

/// The word that stands for a value; every value has one.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| *word)
}
