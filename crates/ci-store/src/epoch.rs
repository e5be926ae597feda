//! Epochs: one number for everything that has to stay as it is for versions to be comparable.

use ci_model::Epoch;
use serde::{Deserialize, Serialize};

use crate::EpochReason;

/// Part of every epoch: what is recorded, and how.
const FORMAT: &str = "ci-cache feed 1";

/// What an epoch is made of, by what its change means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The server's run, the database and its crash mark.
    pub(crate) server: String,
    /// A name that changes when the database goes back to an older state.
    pub(crate) history: String,
    /// Tables, triggers and functions, and their versions.
    pub(crate) schema: String,
}

impl Identity {
    /// The epoch's number: FNV-1a in 64 bits over the parts, each with its length, so that no two can run together.
    pub(crate) fn epoch(&self) -> Epoch {
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for part in [FORMAT, &self.server, &self.history, &self.schema] {
            let length = (part.len() as u64).to_le_bytes();
            for byte in length.iter().chain(part.as_bytes()) {
                sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Epoch(sum)
    }

    /// Why the epoch of `self` ended when this is what there is now; none when it goes on.
    pub(crate) fn ended_by(&self, now: &Self) -> Option<EpochReason> {
        if self.server != now.server {
            Some(EpochReason::Restarted)
        } else if self.history != now.history {
            Some(EpochReason::Rewound)
        } else if self.schema != now.schema {
            Some(EpochReason::Schema)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(parts: [&str; 3]) -> Identity {
        let [server, history, schema] = parts.map(str::to_owned);
        Identity {
            server,
            history,
            schema,
        }
    }

    #[test]
    fn every_part_makes_another_epoch_with_its_reason() {
        let first = identity(["a", "b", "c"]);
        assert_eq!(first.ended_by(&first.clone()), None);
        for (parts, why) in [
            (["x", "b", "c"], EpochReason::Restarted),
            (["a", "x", "c"], EpochReason::Rewound),
            (["a", "b", "x"], EpochReason::Schema),
        ] {
            let now = identity(parts);
            assert_eq!(first.ended_by(&now), Some(why));
            assert_ne!(first.epoch(), now.epoch());
        }
        assert_ne!(identity(["ab", "", ""]).epoch(), identity(["a", "b", ""]).epoch());
    }
}
