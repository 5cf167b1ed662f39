//! Every key that a file can have, the range of its values, and the rules between keys.

use super::raw::{Document, Section, grouped};
use super::{Config, CoreList, Cores, Durability, LogFormat, LogLevel, Mistake, Store, access, listener};
use crate::types::limits::{Exceeded, INFLIGHT_MAX, Overflow, REMAINING_LENGTH_MAX};
use crate::types::{Balance, Features, Limits, QoS, SHARDS_MAX, Span};
use std::path::PathBuf;

/// The whole of the largest packet: a byte, four bytes of length, and what those can express.
const PACKET_BYTES_MAX: u64 = REMAINING_LENGTH_MAX as u64 + 5;
/// Matching recurses once per level; so many fit a shard's stack with room to spare.
const TOPIC_LEVELS_MAX: u64 = 1_024;
/// 0xFFFFFFFF seconds means "never" in MQTT 5.0. [MQTT 3.1.2.11.2]
const SESSION_EXPIRY_MAX_S: u64 = u32::MAX as u64 - 1;
/// More than any machine has, and far from where sums of such numbers would overflow.
const MEMORY_BYTES_MAX: u64 = 1 << 46;

/// The words for [`Overflow`].
pub(super) const OVERFLOW: [(&str, Overflow); 6] = [
    ("drop_newest", Overflow::DropNewest),
    ("drop_oldest", Overflow::DropOldest),
    ("hold", Overflow::Hold),
    ("disconnect", Overflow::Disconnect),
    // As it was written at first.
    ("drop-newest", Overflow::DropNewest),
    ("drop-oldest", Overflow::DropOldest),
];

/// The words for [`Exceeded`].
pub(super) const EXCEEDED: [(&str, Exceeded); 2] =
    [("hold", Exceeded::Hold), ("disconnect", Exceeded::Disconnect)];

/// The words for [`Balance`].
pub(super) const BALANCE: [(&str, Balance); 3] =
    [("round-robin", Balance::RoundRobin), ("sticky", Balance::Sticky), ("hash", Balance::Hash)];

/// Reads a file's text over the defaults in `config`; returns what is wrong with it.
pub(super) fn read(name: &str, text: &str, allowed: &CoreList, config: &mut Config) -> Vec<Mistake> {
    let (mut document, table) = Document::parse(name, text);
    let mut top = Section::top(&mut document, table.get_ref());
    let mut listeners = Vec::new();
    if top.tables("listener", |section| listener::read(section, &mut listeners)) {
        config.listeners = listeners;
    }
    top.table("cores", |section| cores(section, allowed, &mut config.cores));
    top.table("store", |section| store(section, &mut config.store));
    top.table("session", |section| session(section, &mut config.limits));
    top.table("limits", |section| limits(section, &mut config.limits));
    top.table("mqtt", |section| mqtt(section, &mut config.features));
    access::read(&mut top, &mut config.access);
    top.table("sys", |section| sys(section, &mut config.sys_interval));
    top.table("log", |mut section| {
        section.choice("level", &LogLevel::ALL, &mut config.log.level);
        section.choice("format", &LogFormat::ALL, &mut config.log.format);
        section.finish();
    });
    top.table("process", |mut section| {
        section.text("user", "a user's name or number", &mut config.process.user);
        section.text("group", "a group's name or number", &mut config.process.group);
        if section.has("group") {
            section.require("user", "a user's name or number, whose group is to be this one");
        }
        section.finish();
    });
    top.finish();
    document.into_mistakes()
}

fn cores(mut section: Section<'_, '_>, allowed: &CoreList, cores: &mut Cores) {
    let list = section.value("list", |value| match value.as_str() {
        Some(text) => core_list(text, allowed),
        None => Err(super::BadCoreList.to_string()),
    });
    cores.list = list.flatten();
    section.number_or("shards", "auto", 1..=SHARDS_MAX as u64, &mut cores.shards);
    section.finish();
}

/// A list of cores that the process may run on, `None` for all; or what was expected instead.
pub(super) fn core_list(text: &str, allowed: &CoreList) -> Result<Option<CoreList>, String> {
    if text == "all" {
        return Ok(None);
    }
    let list: CoreList = text.parse().map_err(|bad: super::BadCoreList| bad.to_string())?;
    match list.beyond(allowed) {
        Some(beyond) => Err(format!("cores that this process may run on ({allowed}), so not {beyond}")),
        None => Ok(Some(list)),
    }
}

fn store(mut section: Section<'_, '_>, store: &mut Store) {
    section.flag("enabled", &mut store.enabled);
    let mut path = None;
    section.text("path", "a folder, such as \"/var/lib/pantala\", or \"auto\"", &mut path);
    if let Some(path) = path {
        store.path = (*path != *"auto").then(|| PathBuf::from(&*path));
    }
    section.choice("durability", &Durability::ALL, &mut store.durability);
    section.number("bytes_max", 0..=MEMORY_BYTES_MAX, &mut store.bytes_max);
    section.number("reserve_bytes", 0..=MEMORY_BYTES_MAX, &mut store.reserve_bytes);
    section.number("segment_bytes", 1 << 20..=1 << 32, &mut store.segment_bytes);
    section.number("checkpoint_bytes", 1 << 20..=1 << 32, &mut store.checkpoint_bytes);
    let min = store.reserve_bytes_min();
    if store.reserve_bytes < min {
        // Whoever made the files longer did not think of the reserve.
        let at_fault = ["reserve_bytes", "segment_bytes", "checkpoint_bytes"];
        if let Some(key) = at_fault.into_iter().find(|key| section.has(key)) {
            let (min, of) = (grouped(min), "three times segment_bytes and twice checkpoint_bytes");
            section.mistake(key, &format!("reserve_bytes to be at least {min}, {of}"));
        }
    }
    section.finish();
}

fn session(mut section: Section<'_, '_>, limits: &mut Limits) {
    let mut expiry_s = limits.session_expiry_max.map(Span::as_secs);
    section.number_or("expiry_max_s", "never", 0..=SESSION_EXPIRY_MAX_S, &mut expiry_s);
    limits.session_expiry_max = expiry_s.map(Span::from_secs);
    let mut default_s = limits.session_expiry_default.map(Span::as_secs);
    section.number_or("expiry_default_s", "max", 1..=SESSION_EXPIRY_MAX_S, &mut default_s);
    limits.session_expiry_default = default_s.map(Span::from_secs);
    section.number("keep_alive_max_s", 0..=u64::from(u16::MAX), &mut limits.keep_alive_max_s);
    section.number("subscriptions_max", 1..=u64::from(u32::MAX), &mut limits.subscriptions_max);
    section.number("inflight_max", 1..=u64::from(INFLIGHT_MAX), &mut limits.inflight_max);
    section.number("receive_max", 1..=u64::from(u16::MAX), &mut limits.receive_max);
    section.number("queue_messages_max", 1..=u64::from(u32::MAX), &mut limits.queue_messages_max);
    section.number("queue_bytes_max", 1..=MEMORY_BYTES_MAX, &mut limits.queue_bytes_max);
    section.choice("overflow", &OVERFLOW, &mut limits.overflow);
    section.number("queue_memory_bytes", 1_024..=MEMORY_BYTES_MAX, &mut limits.queue_memory_bytes);
    section.flag("queue_qos0", &mut limits.queue_qos0);
    let mut queued_s = limits.queued_expiry.map(Span::as_secs);
    section.number_or("queued_message_expiry_default_s", "never", 1..=u64::from(u32::MAX), &mut queued_s);
    limits.queued_expiry = queued_s.map(Span::from_secs);
    section.finish();
}

fn limits(mut section: Section<'_, '_>, limits: &mut Limits) {
    section.number("packet_bytes_max", 256..=PACKET_BYTES_MAX, &mut limits.packet_bytes_max);
    let given = section.number("connect_bytes_max", 64..=PACKET_BYTES_MAX, &mut limits.connect_bytes_max);
    if given && limits.connect_bytes_max > limits.packet_bytes_max {
        let bound = grouped(u64::from(limits.packet_bytes_max));
        section.mistake("connect_bytes_max", &format!("at most packet_bytes_max, {bound}"));
    }
    // Who lowers only packet_bytes_max means CONNECT too.
    limits.connect_bytes_max = limits.connect_bytes_max.min(limits.packet_bytes_max);
    let mut connect_timeout_ms = limits.connect_timeout.0;
    section.number("connect_timeout_ms", 1..=3_600_000, &mut connect_timeout_ms);
    limits.connect_timeout = Span::from_millis(connect_timeout_ms);
    section.number("connections_max", 1..=u64::from(u32::MAX), &mut limits.connections_max);
    let any = 1..=u64::from(u32::MAX);
    for (key, target) in [
        ("connections_per_address_max", &mut limits.connections_per_address_max),
        ("connections_per_user_max", &mut limits.connections_per_user_max),
        ("attempts_per_s", &mut limits.attempts_per_s),
        ("publishes_per_s", &mut limits.publishes_per_s),
        ("publish_bytes_per_s", &mut limits.publish_bytes_per_s),
    ] {
        section.number_or(key, "unlimited", any.clone(), target);
    }
    section.number("attempts_burst", 1..=u64::from(u32::MAX), &mut limits.attempts_burst);
    let mut penalty_s = limits.penalty.as_secs();
    section.number("penalty_s", 1..=86_400, &mut penalty_s);
    limits.penalty = Span::from_secs(penalty_s);
    section.choice("publish_exceeded", &EXCEEDED, &mut limits.exceeded);
    section.number("topic_bytes_max", 1..=u64::from(u16::MAX), &mut limits.topic_bytes_max);
    section.number("topic_levels_max", 1..=TOPIC_LEVELS_MAX, &mut limits.topic_levels_max);
    section.number("output_bytes_max", 4_096..=1 << 30, &mut limits.output_bytes_max);
    section.number("sessions_max", 1..=u64::from(u32::MAX), &mut limits.sessions_max);
    section.number("retained_messages_max", 0..=u64::from(u32::MAX), &mut limits.retained_messages_max);
    section.number("retained_bytes_max", 0..=MEMORY_BYTES_MAX, &mut limits.retained_bytes_max);
    section.finish();
}

fn mqtt(mut section: Section<'_, '_>, features: &mut Features) {
    section.number("topic_alias_max", 0..=u64::from(u16::MAX), &mut features.topic_alias_max);
    section.number("topic_alias_out_max", 0..=u64::from(u16::MAX), &mut features.topic_alias_out_max);
    let mut qos_max = features.qos_max as u8;
    section.number("qos_max", 0..=2, &mut qos_max);
    features.qos_max = QoS::from_bits(qos_max).unwrap_or(features.qos_max);
    section.flag("retain", &mut features.retain);
    section.flag("wildcard_subscriptions", &mut features.wildcard_subscriptions);
    section.flag("subscription_ids", &mut features.subscription_ids);
    section.flag("shared_subscriptions", &mut features.shared_subscriptions);
    section.choice("share_balance", &BALANCE, &mut features.share_balance);
    let topic = "the beginning of response topics, such as \"answers/\"";
    section.text("response_information", topic, &mut features.response_information);
    let server = "another server, such as \"broker.example:1883\"";
    section.text("server_reference", server, &mut features.server_reference);
    section.finish();
}

fn sys(mut section: Section<'_, '_>, interval: &mut Option<Span>) {
    let mut interval_s = interval.map_or(0, Span::as_secs);
    section.number("interval_s", 0..=86_400, &mut interval_s);
    *interval = (interval_s > 0).then(|| Span::from_secs(interval_s));
    section.finish();
}
