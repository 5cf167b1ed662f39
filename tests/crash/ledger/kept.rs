//! One topic's retained message: what it may be.

/// All that was published to be retained on a topic, which has one publisher and one QoS.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Numbers of messages in the order of their first sending, and whether they clear.
    versions: Vec<(usize, bool)>,
    /// The newest that was acknowledged, as a place in `versions`.
    acknowledged: Option<usize>,
}

impl Kept {
    pub(super) fn sent(&mut self, index: usize, clears: bool) {
        self.versions.push((index, clears));
    }

    pub(super) fn acknowledged(&mut self, index: usize) {
        let place = self.versions.iter().rposition(|(version, _)| *version == index);
        self.acknowledged = self.acknowledged.max(place);
        // What came before it is of no interest any more.
        if let Some(place) = self.acknowledged.take() {
            self.versions.drain(..place);
            self.acknowledged = Some(0);
        }
    }

    pub(super) fn last_acknowledged(&self) -> Option<usize> {
        Some(self.versions[self.acknowledged?].0)
    }

    /// Whether this may be what is retained; if not, what may.
    pub(super) fn allows(&self, found: Option<usize>) -> Result<(), String> {
        let from = self.acknowledged.unwrap_or(0);
        let candidates = &self.versions[from..];
        let allowed = match found {
            Some(found) => candidates.iter().any(|(index, clears)| *index == found && !clears),
            None => self.acknowledged.is_none() || candidates.iter().any(|(_, clears)| *clears),
        };
        let expected = || {
            let words = candidates.iter().map(|(index, clears)| match clears {
                true => format!("nothing (message {index})"),
                false => format!("message {index}"),
            });
            words.collect::<Vec<_>>().join(" or ")
        };
        if allowed { Ok(()) } else { Err(expected()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retained_is_never_older_than_what_was_acknowledged() {
        let mut kept = Kept::default();
        assert!(kept.allows(None).is_ok());
        assert!(kept.allows(Some(3)).is_err());
        kept.sent(3, false);
        kept.sent(5, false);
        for may in [None, Some(3), Some(5)] {
            assert!(kept.allows(may).is_ok());
        }
        kept.acknowledged(5);
        assert!(kept.allows(None).is_err() && kept.allows(Some(3)).is_err() && kept.allows(Some(5)).is_ok());
        kept.sent(8, true);
        assert!(kept.allows(None).is_ok() && kept.allows(Some(5)).is_ok());
        kept.acknowledged(8);
        assert!(kept.allows(None).is_ok() && kept.allows(Some(5)).is_err(), "what was cleared stays cleared");
    }
}
